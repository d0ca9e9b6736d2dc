"""The judging stage against a real endpoint whose judge writes in a form of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from components.core.records import Candidate, Counts, Judgement
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.core.store import join
from components.judging.judging import judge_candidates
from components.judging.settings import JudgingSettings
from tests.helpers.scripted_endpoint import Script, says

TEXTS = {"a": "81406", "b": "81407", "c": "1"}
WRITTEN = {"81406": "8y1y4y0y6y5", "81407": "8y1y4y0y6n4", "1": "Score: 3 to 4"}


def sampled(root: str) -> str:
    """A sampling stage with three candidates of one prompt, and one that was cut off."""
    common = {"prompt_id": "p", "prompt": "i 70395", "seed": 0, "tokens": 1}
    candidates = [Candidate(id=id, text=text, finish_reason="stop", **common) for id, text in TEXTS.items()]
    candidates.append(Candidate(id="d", text="81406", finish_reason="length", **common))
    stage = Stage(root, "sampling", Settings(), {})
    stage.publish(Counts(), {"candidates": candidates})
    return stage.uri


def test_custom_prompt_pattern_and_range_decide_which_judgements_are_parsed(
    tmp_path: Path, serve: Callable[[Script], str]
) -> None:
    """5 and 4 are read twice each; the 4 of "3 to 4" stands behind no y or n: 4 of 6 judgements are parsed."""
    root = str(tmp_path)
    model = Stage(root, "base_model", Settings(), {})
    model.publish(Counts(), {})
    endpoint = serve(says(lambda prompt: WRITTEN[prompt.removeprefix("j ").split(" ")[-1]]))
    settings = JudgingSettings(prompt="j {instruction} {response}", pattern=r"[yn](?P<score>\d)$", samples=2)
    manifest = judge_candidates(root, settings, model.uri, sampled(root), endpoint)
    judgements = read_records(join(root, "judging", manifest.key), "judgements", Judgement)
    assert [(one.candidate_id, one.score) for one in judgements] == [
        *[("a", 5.0), ("a", 5.0)],
        *[("b", 4.0), ("b", 4.0)],
        *[("c", None), ("c", None)],
    ]
    assert manifest.counts.kept == {"judgements": 4}
    assert manifest.counts.dropped == {
        "judgement unparsed: no score": 2,
        "candidate not judged: cut off by length": 1,
    }
    assert manifest.metrics["round_parse_rate"] == 4 / 6
    assert (manifest.metrics["score_4_share"], manifest.metrics["score_5_share"]) == (0.5, 0.5)


def test_half_a_surrogate_pair_in_an_answer_is_one_unknown_character(
    tmp_path: Path, serve: Callable[[Script], str]
) -> None:
    """A server that cuts a token in the middle of an emoji sends it; no file and no request could hold it."""
    root = str(tmp_path)
    model = Stage(root, "base_model", Settings(), {})
    model.publish(Counts(), {})
    endpoint = serve(says(lambda _: "Fine \ud83d\nScore: 3"))
    manifest = judge_candidates(root, JudgingSettings(), model.uri, sampled(root), endpoint)
    made = read_records(join(root, manifest.stage, manifest.key), "judgements", Judgement)
    assert {(one.completion, one.score) for one in made} == {("Fine \ufffd\nScore: 3", 3.0)}


def test_the_score_format_is_part_of_the_key(tmp_path: Path, serve: Callable[[Script], str]) -> None:
    """Another pattern reads the same completions otherwise: its judgements are another stage."""
    root = str(tmp_path)
    model = Stage(root, "base_model", Settings(), {})
    model.publish(Counts(), {})
    script = says(lambda _: "Score: 3\nor 4")
    endpoint, candidates = serve(script), sampled(root)
    forms: list[dict[str, str | float]] = [{}, {}, {"pattern": r"or (?P<score>\d)"}, {"highest": 10}]
    manifests = [
        judge_candidates(
            root, JudgingSettings(prompt="{instruction} {response}", **form), model.uri, candidates, endpoint
        )
        for form in forms
    ]
    assert len({manifest.key for manifest in manifests}) == 3
    assert [manifest.metrics.get("score_4_share") for manifest in manifests] == [0, 0, 1, 0]
    assert len(script.bodies) == 3 * 9
