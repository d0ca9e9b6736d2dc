"""Methods that ask the judge more than its scores, in a whole run: a tiny model is trained on their pairs for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.records import Pair, PairwiseJudgement
from components.core.stage import read_records
from tests.helpers.scripted_endpoint import served
from tests.helpers.tiny_loop import PROMPTS, environment, gateway, run_tiny_loop, tiny_options

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
# Of two verdicts that a gateway draws few agree: four judgements an answer, and half of the pairs may be of them.
COMPARED = (
    "judging.samples=4",
    "judging.rubrics={}",
    "pairs.comparisons={}",
    "pairs.meta_judge={share: 0.5}",
    "dpo.max_length=2048",
    "pairs.min_pairs=1",
)


def test_a_run_learns_from_what_its_judge_compared(tmp_path: Path, mlflow_server: str) -> None:
    """M1 compares its answers and its judgements, M2 learns from both kinds of pairs; tried again nothing is asked."""
    store = str(tmp_path / "store")
    with environment({"SRLM_HOME": str(tmp_path / "home")}):
        asked = gateway(store)
        with served(asked) as url:
            options = tiny_options(store, mlflow_server, url, judge="")
            summary = run_tiny_loop(tmp_path, options, *COMPARED)
            before = {kind: len(questions) for kind, questions in asked.answered.items()}
            again = run_tiny_loop(tmp_path, options, *COMPARED)
        stages = {one["name"]: one for one in summary["stages"]}
        assert {kind: len(questions) for kind, questions in asked.answered.items()} == before
        assert all(one["reused"] for one in again["stages"])
        made = {
            kind: read_records(stages[f"m1/{kind}"]["uri"], "comparisons", PairwiseJudgement)
            for kind in ("pairwise_judging", "meta_judging")
        }
        annotated = sum(stages[f"{name}/annotation"]["metrics"]["head_to_head"] for name in ("sft", "m1", "m2"))
        assert before["comparison"] >= len(made["pairwise_judging"]) + len(made["meta_judging"]) + annotated
        pairs = read_records(stages["m1/pairs"]["uri"], "pairs", Pair)
    assert 0 < len(made["meta_judging"]) <= 12 * PROMPTS, "four judgements of one answer to a prompt, in both orders"
    of_judgements = [pair for pair in pairs if pair.id.startswith("judgement/")]
    kept = stages["m1/pairs"]["counts"]["kept"]
    assert kept == {"pairs": len(pairs) - len(of_judgements), "pairs of judgements": len(of_judgements)}
    assert of_judgements and all("Score: <total points>" in pair.prompt for pair in of_judgements)
    trained = stages["m2/dpo"]["counts"]
    assert sum(trained["kept"].values()) + sum(trained["dropped"].values()) == len(pairs)
