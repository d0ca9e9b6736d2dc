"""Judgements that somebody else wrote."""

from __future__ import annotations

import json

import pytest

from components.core.errors import UserError
from components.eft.file import WrittenJudgement, read_judgements, targets_from_file
from components.seed_data.contamination import HELD_OUT, EvaluationTexts


def written(instruction: str, response: str = "r", judgement: str = "Good enough.\nScore: 3") -> WrittenJudgement:
    return WrittenJudgement(instruction=instruction, response=response, judgement=judgement)


def test_each_line_is_a_target_with_its_parsed_score():
    judgements = [written("a"), written("b", judgement="Fine. Score: 4.5\n")]
    targets, dropped = targets_from_file(judgements, EvaluationTexts())
    assert [(t.instruction, t.score) for t in targets] == [("a", 3.0), ("b", 4.5)]
    assert targets[1].judgement == "Fine. Score: 4.5"
    assert not dropped


def test_what_is_not_used_is_counted():
    """Held-out prompts stay out, in whatever case; the second judgement of a response and unparsed ones too."""
    evaluation = EvaluationTexts()
    evaluation.add(HELD_OUT, "held  OUT?")
    judgements = [
        written("Held out?"),
        written("a"),
        written("a", judgement="Again.\nScore: 4"),
        written("b", judgement="Score: 45"),
        written("c", judgement="I like it"),
    ]
    targets, dropped = targets_from_file(judgements, evaluation)
    assert [t.instruction for t in targets] == ["a"]
    assert dropped == {
        "example: too close to held-out prompts": 1,
        "example: same instruction and response": 1,
        "example: judgement unparsed: not a number from 0 to 5": 1,
        "example: judgement unparsed: no score": 1,
    }


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"instruction": "a", "response": "b"}, "judgement: is missing"),
        ({"instruction": "a", "response": 1, "judgement": "c"}, "response: must be a text"),
        ({"instruction": "", "response": "b", "judgement": "c"}, "instruction: must have 1 or more characters"),
        ([1], "is not a JSON object"),
    ],
)
def test_a_wrong_line_is_named(line, problem, tmp_path):
    good = {"instruction": "a", "response": "b", "judgement": "c", "source": "other fields are fine"}
    path = tmp_path / "eft.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(line)}\n")
    with pytest.raises(UserError, match=f"FILE, line 2.*{problem}"):
        read_judgements(path, "FILE")
