"""The stage: three sources, one form of example, and an error that says what to change."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.core.errors import UserError
from components.core.records import Example, Judgement, Manifest
from components.core.stage import read_records
from components.core.store import join
from components.eft import eft
from components.eft.eft import make_eft
from components.eft.settings import EftSettings
from components.judging.judging import TextToJudge
from components.judging.parser import ScoreFormat
from components.judging.prompt import JudgePrompt
from components.seed_data.seed_data import make_seed_data
from components.seed_data.settings import SeedDataSettings

PROMPT = JudgePrompt("Judge {response} for {instruction}.")


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def seed_data(root: str) -> str:
    """10 EFT prompts of the built-in data with 3 or 4 replies each, and 4 held out."""
    settings = SeedDataSettings(messages="builtin:demo", ift=20, eft_prompts=10, eval_prompts=4)
    return join(root, "seed_data", make_seed_data(root, settings).key)


def examples(root: str, manifest: Manifest) -> list[Example]:
    return read_records(join(root, "eft", manifest.key), "eft", Example)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[TextToJudge, int], str]], list[int]]:
    """Stand in for the served model: `write` gives the completion for a text and the number of its sample."""
    calls: list[int] = []

    def install(write: Callable[[TextToJudge, int], str]) -> list[int]:
        def judgements_of(
            texts: Sequence[TextToJudge], generation: EftSettings, samples: int, judge_prompt: JudgePrompt, first: int
        ) -> list[Judgement]:
            calls.append(len(texts) * samples)
            return [judgement(text, n, write(text, n)) for text in texts for n in range(first, first + samples)]

        monkeypatch.setattr(eft, "judgements_of", judgements_of)
        monkeypatch.setattr(eft, "complete", lambda stage, endpoint, made: made)
        return calls

    return install


def judgement(text: TextToJudge, n: int, completion: str) -> Judgement:
    number = completion.rpartition("Score: ")[2]
    return Judgement(
        id=f"{text.candidate_id}/{n}",
        prompt_id=text.prompt_id,
        candidate_id=text.candidate_id,
        completion=completion,
        finish_reason="stop",
        score=float(number) if number.isdigit() else None,
        judge_prompt=PROMPT.sha256,
        seed=n,
        tokens=7,
    )


def from_ranks(root: str, seed_data: str, **fields: Any) -> Manifest:
    return make_eft(root, EftSettings(source="ranks", **({"min_examples": 10} | fields)), seed_data, PROMPT)


def test_ranks_become_filled_judge_prompts_with_judgements(root, seed_data):
    """Every reply of the ten prompts gives an example: with 3 or 4 replies, no score is above 40 %."""
    manifest = from_ranks(root, seed_data)
    made = examples(root, manifest)
    assert manifest.counts.kept == {"examples": len(made), "prompts": 10}
    assert not manifest.counts.dropped
    assert all(e.kind == "eft" and e.prompt.startswith("Judge ") and "\nScore: " in e.completion for e in made)
    shares = {name: value for name, value in manifest.metrics.items() if name.startswith("share_of_score_")}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["share_of_score_5"] == pytest.approx(10 / len(made))


def test_a_finished_stage_is_found_again(root, seed_data, judge):
    ranks = _human_ranks()
    calls = judge(
        lambda text, n: f"Relevant, says this fake judge of the reply.\nScore: {5 - ranks[text.candidate_id]}"
    )
    settings = EftSettings(min_examples=1)
    first = make_eft(root, settings, seed_data, PROMPT, "http://unused")
    again = make_eft(root, settings, seed_data, PROMPT)
    assert (again.key, again.digest) == (first.key, first.digest)
    assert len(calls) == 1  # one try: every prompt was accepted


def test_the_judge_prompt_is_part_of_the_identity(root, seed_data):
    other = make_eft(
        root, EftSettings(source="ranks", min_examples=1), seed_data, JudgePrompt("{instruction} {response}")
    )
    assert other.key != from_ranks(root, seed_data).key
    assert set(other.parents) == {"seed_data", "judge_prompt", "phrases"}


def test_a_models_judgements_are_kept_where_they_agree(root, seed_data, judge):
    """The model knows the human ranks, but says 3 to every reply of a prompt with an even number: those tie."""
    ranks = _human_ranks()
    even = {text_id for text_id in ranks if int(text_id.split("-")[1]) % 2 == 0}

    def write(text: TextToJudge, n: int) -> str:
        score = 3 if text.candidate_id in even else 5 - ranks[text.candidate_id]
        return f"Relevant, but this is only a fake judge speaking.\nScore: {score}"

    calls = judge(write)
    manifest = make_eft(root, EftSettings(min_examples=1, samples=2), seed_data, PROMPT, "http://unused")
    kept, dropped = manifest.counts.kept, manifest.counts.dropped
    assert kept["prompts"] + dropped["prompt: scores tie"] == 10
    assert manifest.metrics["accept_rate"] == kept["prompts"] / 10
    assert manifest.metrics["parse_rate"] == 1
    assert manifest.tokens == 7 * sum(calls)
    judgements = read_records(join(root, "eft", manifest.key), "judgements", Judgement)
    assert len(judgements) == sum(calls)
    assert {e.id for e in examples(root, manifest)}.isdisjoint(even)


def test_tries_go_on_for_the_prompts_that_are_not_accepted_yet(root, seed_data, judge, capsys):
    """The model says 3 to the replies of even prompts in the first two tries, and then what people say.

    Try 1 judges all replies, 2 and 3 those of the even prompts alone, and 4 never happens. The targets of a prompt are
    in human order by themselves.
    """
    ranks = _human_ranks()

    def write(text: TextToJudge, n: int) -> str:
        known = n == 2 or int(text.candidate_id.split("-")[1]) % 2
        return (
            f"Relevant, but this is only a fake judge speaking.\nScore: {5 - ranks[text.candidate_id] if known else 3}"
        )

    calls = judge(write)
    manifest = make_eft(
        root, EftSettings(min_examples=1, samples=4, max_class_share=1), seed_data, PROMPT, "http://unused"
    )
    assert len(calls) == 3 and calls[0] > calls[1] == calls[2] > 0
    made = examples(root, manifest)
    assert len(made) == calls[0]
    assert all(int(one.completion.rpartition("Score: ")[2]) == 5 - ranks[one.id] for one in made)
    odd = (calls[0] - calls[1]) / calls[0]
    rates = [manifest.metrics[f"accept_rate_try_{n}"] for n in (1, 2, 3)]
    assert rates[0] == rates[1] == pytest.approx(odd, abs=0.1) and rates[2] == manifest.metrics["accept_rate"] == 1
    assert manifest.metrics["judgements_per_target"] == sum(calls) / len(made)
    assert "after try 3 of 4 the scores of 10 of 10 prompts are in human order" in capsys.readouterr().err


def test_tries_end_where_there_are_enough_examples(root, seed_data, judge):
    """10 of at most 10 wanted, after the first try; no class has more than 4 of them."""
    ranks = _human_ranks()
    calls = judge(
        lambda text, n: f"Relevant, says this fake judge of the reply.\nScore: {5 - ranks[text.candidate_id]}"
    )
    settings = EftSettings(min_examples=10, max_examples=10, samples=5)
    manifest = make_eft(root, settings, seed_data, PROMPT, "http://unused")
    assert len(calls) == 1
    assert manifest.counts.kept["examples"] == 10
    assert calls[0] == 10 + sum(manifest.counts.dropped.values())
    assert manifest.counts.dropped["example: more than asked for"] > 0
    assert max(value for name, value in manifest.metrics.items() if name.startswith("share_of_score_")) <= 0.4


def test_more_examples_than_asked_for_must_be_possible():
    with pytest.raises(ValidationError, match="max_examples 40 is less than min_examples 50"):
        EftSettings(max_examples=40)


def _human_ranks() -> dict[str, int]:
    path = Path(eft.__file__).parents[1] / "seed_data" / "builtin" / "demo.messages.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["message_id"]: row["rank"] for row in rows if row["role"] == "assistant"}


def test_a_judge_that_cannot_be_parsed_ends_in_one_error(root, seed_data, judge):
    judge(lambda text, n: "I would rather talk about the weather")
    with pytest.raises(UserError) as caught:
        make_eft(root, EftSettings(), seed_data, PROMPT, "http://unused")
    assert "0 EFT examples are left, eft.min_examples is 50" in caught.value.problem
    assert "10 prompt: a reply has no judgement that gives reasons and ends on its score" in caught.value.problem
    assert "eft.source: ranks" in caught.value.remedy


def test_lowering_min_examples_continues_the_same_stage():
    """Judging is the costly part: what only decides about success is not part of the key."""
    assert EftSettings(min_examples=1).identity() == EftSettings(min_examples=500).identity()
    assert EftSettings(max_class_share=0.5).identity() != EftSettings().identity()


def test_a_files_judgements_are_used_and_capped(root, seed_data, tmp_path):
    """Scores 4 x 6, 3 x 2, 5 x 2; with 40 % at most: m fours need m <= 0.4 (m + 4), so m = 2, of six in all."""
    scores = [4] * 6 + [3] * 2 + [5] * 2
    path = tmp_path / "eft.jsonl"
    rows = [{"instruction": f"i{n}", "response": "r", "judgement": f"Why.\nScore: {s}"} for n, s in enumerate(scores)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    settings = EftSettings(source="file", file=str(path), min_examples=6)
    manifest = make_eft(root, settings, seed_data, PROMPT)
    assert manifest.counts.kept == {"examples": 6, "prompts": 6}
    assert manifest.counts.dropped == {"example: its score is too frequent": 4}
    assert manifest.parents["file"].uri == str(path)
    assert examples(root, manifest)[-1].prompt == "Judge r for i9."


def test_a_file_in_the_form_that_the_judge_prompt_asks_for(root, seed_data, tmp_path):
    """Digits checked one by one, and at the end how many are right: two judgements each of 5, 4 and 3."""
    path = tmp_path / "eft.jsonl"
    endings = ["6y5", "6y5", "6n4", "6n4", "6n3", "6n3", "6n"]
    rows = [{"instruction": f"i {n}", "response": "81406", "judgement": end} for n, end in enumerate(endings)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    settings = EftSettings(source="file", file=str(path), min_examples=6)
    prompt = JudgePrompt(PROMPT.template, ScoreFormat(r"[yn](?P<score>\d)$"))
    manifest = make_eft(root, settings, seed_data, prompt)
    assert [one.completion for one in examples(root, manifest)] == endings[:6]
    assert manifest.counts.dropped == {"example: judgement unparsed: no score": 1}
    assert manifest.metrics["share_of_score_4"] == pytest.approx(1 / 3)
    with pytest.raises(UserError, match="0 EFT examples are left"):
        make_eft(root, settings, seed_data, PROMPT)  # another stage: none of them ends on "Score: n"


@pytest.mark.parametrize("form", [ScoreFormat(r"(?P<score>\d)$"), ScoreFormat(highest=10), ScoreFormat(lowest=2)])
def test_ranks_do_not_teach_another_form(root, seed_data, form):
    """They are written out as "Score: 1" to "Score: 5"."""
    with pytest.raises(UserError, match="eft.source: file or model"):
        make_eft(root, EftSettings(source="ranks", min_examples=1), seed_data, JudgePrompt(PROMPT.template, form))


def test_two_score_classes_cannot_hold_the_share(root, tmp_path):
    """Prompts with two replies give 5 and 1 alone, each half of the examples: the error shows both numbers."""
    rows = []
    for n in range(12):
        common = {"lang": "en", "text": f"text {n}"}
        rows.append(common | {"message_id": f"p{n}", "role": "prompter"})
        rows += [
            common | {"message_id": f"p{n}-{r}", "parent_id": f"p{n}", "role": "assistant", "rank": r} for r in (0, 1)
        ]
    path = tmp_path / "messages"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    seed = make_seed_data(root, SeedDataSettings(messages=str(path), ift=2, eft_prompts=8, eval_prompts=2))
    with pytest.raises(
        UserError, match="max_class_share = 0.4: 8 of score 1, 8 of score 5.*eft.max_class_share to 0.5"
    ):
        from_ranks(root, join(root, "seed_data", seed.key), min_examples=1)


@pytest.mark.parametrize("fields", [{"source": "file"}, {"source": "ranks", "file": "x"}])
def test_a_file_and_its_source_go_together(fields):
    with pytest.raises(ValidationError, match="`file` is to be given with `source: file`, and only then"):
        EftSettings(**fields)


def test_pairs_alone_make_two_scores_which_need_half_each(root: str, tmp_path: Path) -> None:
    """Of chosen and rejected, ranks make 5 and 1: of 6 prompts 12 examples within 0.5 each, and none within 0.4."""
    rows = [{"prompt": f"{n} {'abcdefghij'[n]}?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(10)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    wanted = SeedDataSettings(messages=str(path), ift=2, eft_prompts=6, eval_prompts=2)
    seeds = join(root, "seed_data", make_seed_data(root, wanted).key)
    with pytest.raises(UserError, match="Set eft.max_class_share to 0.5 or more: two scores cannot have 0.4 each"):
        make_eft(root, EftSettings(source="ranks", min_examples=6), seeds, PROMPT)
    half = EftSettings(source="ranks", min_examples=6, max_class_share=0.5)
    assert make_eft(root, half, seeds, PROMPT).counts.kept["examples"] == 12
