"""The evaluation stage against a real endpoint whose every answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.records import Candidate, Counts, Instruction, Manifest, Question, Record, Reply, SeedPrompt
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.core.store import join
from components.evaluation.evaluation import EvaluationInputs, evaluate
from components.evaluation.exact_answers.settings import ExactAnswersSettings
from components.evaluation.settings import EvaluationSettings
from components.judging.settings import JudgingSettings
from components.metrics.observations import read_measured
from tests.helpers.scripted_endpoint import Script, said

HELD_OUT = [
    SeedPrompt(id="p", text="ask p", replies=[Reply(id="p0", text="good", rank=0), Reply(id="p1", text="bad", rank=1)]),
    SeedPrompt(id="q", text="ask q", replies=[Reply(id="q0", text="odd", rank=0), Reply(id="q1", text="fair", rank=1)]),
]
SAID = {
    "judge good": "Score: 5",
    "judge bad": "Score: 2",
    "judge odd": "Who knows",
    "judge fair": "Score: 3",
    "ask p": "four",
    "ask q": "twelve chars",
    "list": "of output 14",
    "2 + 3?": "It is 5.",
    "4 + 4?": "It is 9.",
}
QUESTIONS = [Question(id="a", text="2 + 3?", answer="5"), Question(id="b", text="4 + 4?", answer="8")]
LAST_DIGIT = r"(?P<answer>\d)"
Serve = Callable[[Script], str]


def model() -> Script:
    """Says what it is told; the answer to "ask q" is cut off."""

    def answer(_: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = body["messages"][-1]["content"].rpartition(": ")[2]  # a judge prompt starts with the instruction
        return said(SAID[asked], "length" if asked == "ask q" else "stop")

    return Script(answer)


def publish(root: Path, name: str, kind: str, *records: Record) -> str:
    """A finished stage with these records; returns its URI."""
    stage = Stage(str(root), name, Settings(), {})
    stage.publish(Counts(), {kind: records})
    return stage.uri


def settings(samples: int = 1, exact: dict[str, Any] | None = None, **judging: Any) -> EvaluationSettings:
    return EvaluationSettings(
        judging=JudgingSettings(prompt="{instruction}: judge {response}", samples=samples, **judging),
        exact_answers=ExactAnswersSettings(**exact) if exact else None,
    )


@pytest.fixture
def inputs(tmp_path: Path) -> EvaluationInputs:
    return EvaluationInputs(publish(tmp_path, "base_model", "none"), publish(tmp_path, "seed_data", "eval", *HELD_OUT))


def run(root: Path, how: EvaluationSettings, inputs: EvaluationInputs, endpoint: str) -> tuple[Manifest, str]:
    """The stage's manifest and URI."""
    manifest = evaluate(str(root), how, inputs, endpoint)
    return manifest, join(str(root), "evaluation", manifest.key)


def test_judgements_and_answers_make_the_metrics_worked_out_by_hand(
    tmp_path: Path, inputs: EvaluationInputs, serve: Serve
) -> None:
    """K = 2. p: 5 above 2, as people have it. q: one reply unparsed, so its only pair is unscored.

    6 of 8 judgements parsed, their mean (5 + 5 + 2 + 2 + 3 + 3) / 6; answers of 4 and 12 characters, one of two cut.
    """
    manifest, uri = run(tmp_path, settings(samples=2), inputs, serve(model()))
    observed, metrics = read_measured([uri]), manifest.metrics
    assert observed["parse_rate"] == {"p": (4, 4), "q": (2, 4)}
    assert observed["pairwise_accuracy_strict"] == {"p": (1, 1)}
    assert observed["exact_match"] == {"p": (1,)}
    assert observed["five_best"] == {"p": (1, 1)}
    assert observed["score_variance"] == {"p": (0, 2), "q": (0, 1)}
    assert observed["answer_length"] == {"p": (4,), "q": (12,)}
    assert (metrics["pairwise_unscored"], metrics["correlation_undefined"]) == (1, 0)
    assert metrics["parse_rate"] == 0.75
    assert metrics["mean_score"] == pytest.approx(20 / 6)
    assert metrics["score_2_share"] == pytest.approx(1 / 3)
    assert (metrics["answer_length"], metrics["answers_cut"]) == (8, 0.5)
    assert manifest.counts.kept == {"judgements": 6, "answers": 2}
    assert manifest.counts.dropped == {"judgement unparsed: no score": 2}, "what is cut off is an answer, too"
    assert manifest.tokens == 2 * (8 + 2)  # the endpoint counts 2 an answer
    assert "exact_answers" not in observed


def test_answer_length_is_of_the_outputs_where_there_are_instructions(
    tmp_path: Path, inputs: EvaluationInputs, serve: Serve
) -> None:
    """One instruction, an output of 12 characters; the answers to held-out prompts are kept beside it."""
    asked = Instruction(id="0", text="list", dataset="", reference="r", generator="g")
    with_instructions = EvaluationInputs(
        inputs.model, inputs.seed_data, publish(tmp_path, "instructions", "instructions", asked)
    )
    manifest, uri = run(tmp_path, settings(), with_instructions, serve(model()))
    assert read_measured([uri])["answer_length"] == {"0": (12,)}
    assert [one.text for one in read_records(uri, "outputs", Candidate)] == ["of output 14"]
    assert [one.text for one in read_records(uri, "answers", Candidate)] == ["four", "twelve chars"]
    assert (manifest.counts.kept["answers"], manifest.counts.kept["outputs"]) == (2, 1)
    assert set(manifest.parents) == {"model", "seed_data", "instructions"}


def test_a_held_out_conversation_is_asked_whole_and_shown_to_the_judge(tmp_path: Path, serve: Serve) -> None:
    """One answer, and a judgement of each of two replies; the answers keep what was asked."""
    history = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "so"}]
    held_out = HELD_OUT[0].model_copy(update={"history": history})
    this = EvaluationInputs(publish(tmp_path, "base_model", "none"), publish(tmp_path, "seed_data", "eval", held_out))
    script = model()
    _, uri = run(tmp_path, settings(), this, serve(script))
    [asked, *judged] = sorted((body["messages"] for body in script.bodies), key=len, reverse=True)
    assert asked == [*history, {"role": "user", "content": "ask p"}]
    assert len(judged) == 2
    assert all("User: first\n\nAssistant: so\n\nUser: ask p: judge" in one[-1]["content"] for one in judged)
    assert [one.history for one in read_records(uri, "answers", Candidate)] == [history]


def with_questions(root: Path, inputs: EvaluationInputs) -> EvaluationInputs:
    return EvaluationInputs(
        inputs.model, inputs.seed_data, questions=publish(root, "questions", "questions", *QUESTIONS)
    )


def test_exact_answers_are_measured_sampled_and_greedy(tmp_path: Path, inputs: EvaluationInputs, serve: Serve) -> None:
    """5 is right for a, 9 is wrong for b: half of the questions, by 3 sampled answers each and by a greedy one."""
    how = settings(exact={"questions": "-", "samples": 3, "pattern": LAST_DIGIT})
    manifest, uri = run(tmp_path, how, with_questions(tmp_path, inputs), serve(model()))
    observed = read_measured([uri])
    assert observed["exact_answers"] == observed["exact_answers_greedy"] == {"a": (1,), "b": (0,)}
    assert (manifest.metrics["exact_answers"], manifest.metrics["exact_answers_greedy"]) == (0.5, 0.5)
    assert manifest.metrics["exact_answers_not_found"] == 0
    assert len(read_records(uri, "exact_answers", Candidate)) == 6
    assert len(read_records(uri, "exact_answers_greedy", Candidate)) == 2
    assert manifest.counts.kept["answers_to_questions"] == 8
    assert set(observed["answer_length"]) == {"p", "q"}
    assert manifest.tokens == 2 * (4 + 2 + 8)


def test_the_key_depends_on_the_exact_answers_settings_only_where_questions_are_asked(
    tmp_path: Path, inputs: EvaluationInputs, serve: Serve
) -> None:
    """Where the questions were read from is no matter, how they are asked and compared is; without any, nothing is."""
    endpoint = serve(model())

    def key(asked: EvaluationInputs, **exact: Any) -> str:
        return run(tmp_path, settings(exact=exact), asked, endpoint)[0].key

    asked = with_questions(tmp_path, inputs)
    first = key(asked, questions="x.jsonl", count=2)
    assert key(asked, questions="y.jsonl", count=3) == first
    others = {key(asked, questions="-", **one) for one in ({"samples": 2}, {"temperature": 1}, {"pattern": LAST_DIGIT})}
    assert len(others | {first, key(inputs)}) == 5
    assert run(tmp_path, settings(), inputs, "")[0].settings["exact_answers"] is None


def test_the_judges_scale_says_which_scores_are_valid_and_perfect(
    tmp_path: Path, inputs: EvaluationInputs, serve: Serve
) -> None:
    """From 1 to 3 the 5 is out of range, and a 3 is perfect: q's worse reply has it."""
    manifest, uri = run(tmp_path, settings(lowest=1, highest=3), inputs, serve(model()))
    assert read_measured([uri])["five_best"] == {"q": (0, 1)}
    assert manifest.counts.dropped["judgement unparsed: not a number from 1 to 3"] == 1
    assert [name for name in manifest.metrics if name.endswith("_share")] == [f"score_{n}_share" for n in (1, 2, 3)]


def test_a_finished_evaluation_needs_no_endpoint(tmp_path: Path, inputs: EvaluationInputs, serve: Serve) -> None:
    script = model()
    first, _ = run(tmp_path, settings(), inputs, serve(script))
    asked = len(script.bodies)
    again, _ = run(tmp_path, settings(), inputs, "")
    assert (again.digest, len(script.bodies)) == (first.digest, asked)
