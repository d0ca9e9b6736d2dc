"""The comparison of methods: what differs from the plain loop, its figures, and a run of it from end to end."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from components.core.journal import read_journal
from examples.world.data import Sizes
from examples.world.judges import FALLIBLE, JUDGES, PERFECT
from examples.world.methods import here
from examples.world.methods.compare import SHORT, Plan, compare, wanted_runs
from examples.world.methods.here import Ended
from examples.world.methods.page import draw, method_table, results_table, write_page
from examples.world.methods.progress import time_left
from examples.world.methods.results import Model, Result, compared
from examples.world.methods.switches import CREAM, METHODS, PLAIN, TEMPORAL
from examples.world.truth import judgement
from pipelines.local.run import RunOptions
from pipelines.recipe import Recipe
from tests.helpers.paths import ROOT
from tests.helpers.scripted_endpoint import Script, said, served
from tests.helpers.waiting import wait_until


def result(method: str, seed: int, right: int, **changes: Any) -> Result:
    """M1 and M2; of 100 questions M2 has the first `right` ones."""
    models = [Model("m1", 0.3, 0.9, 5.0, 20, 800, 30.0), Model("m2", right / 100, 0.8, None, None, 0, 10.0)]
    answers = {f"q{n:02}": (float(n < right),) for n in range(100)}
    return replace(Result(PERFECT.name, method, seed, models, answers), **changes)


def test_a_method_is_held_against_the_plain_loop_by_question_and_by_seed() -> None:
    """40 against 30 and 50 against 48 of 100: +0.10 and +0.02, together +0.06, spread 0.04 * sqrt(2)."""
    rows = compared([result("plain", 1, 30), result("plain", 2, 48), result("cream", 1, 40), result("cream", 2, 50)])
    plain, cream = rows
    assert plain.difference is None and plain.sampled == pytest.approx(0.39)
    assert cream.by_seed == [pytest.approx(0.10), pytest.approx(0.02)]
    assert cream.spread == pytest.approx(0.08 / 2**0.5)
    found = cream.difference
    assert found and (found.value, found.items) == (pytest.approx(0.06), 200)
    assert found.low is not None and found.high is not None and 0 < found.low < 0.06 < found.high
    assert (cream.calls, cream.seconds, cream.pairs, cream.lengths) == (800, 40, [20], [5.0])


def test_a_run_without_an_end_is_told_and_not_compared() -> None:
    """Nor is a method compared where the plain loop itself was stopped."""
    stopped = result("cream", 1, 90, stopped_by="m2")
    rows = compared(
        [result("plain", 1, 30), result("plain", 2, 30, failed="no pairs"), stopped, result("cream", 2, 90)]
    )
    assert rows[0].missing == ["seed 2: no pairs"] and rows[0].seeds == 1
    assert rows[1].missing == ["seed 1: stopped by the gate at M2"]
    assert (rows[1].difference, rows[1].by_seed, rows[1].sampled) == (None, [], 0.9)


def test_every_method_changes_something_and_shares_m1(tmp_path: Path) -> None:
    """All up to M1 is set as the plain loop has it; each method has settings that differ, and a name of its own."""
    for judge in JUDGES.values():
        recipes = {one.name: one.recipe(judge, tmp_path, 1, 3) for one in METHODS}
        assert len({recipe.name for recipe in recipes.values()}) == len(METHODS)
        for section in ("model", "data", "eft", "sft", "sampling", "evaluation"):
            of_methods = {str(getattr(recipe, section).to_dict()) for name, recipe in recipes.items()}
            if section != "evaluation":  # its judgements are one each, whatever the rounds' are
                assert len(of_methods) == 1
        changed = [
            str([recipe.rounds, recipe.judging.identity(), recipe.pairs.identity(), recipe.dpo.identity()])
            for recipe in recipes.values()
        ]
        assert len(set(changed)) == len(METHODS)


def test_the_short_comparison_is_one_seed_and_four_methods() -> None:
    assert [(judge.name, seed, method.name) for judge, seed, method in SHORT.runs()] == [
        (FALLIBLE.name, 1, name) for name in ("plain", "length-control", "temporal", "cream")
    ]
    assert len(list(Plan().runs())) == 3 * 3 * len(METHODS)


def test_methods_wait_for_the_plain_loop_of_their_world_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On two cores, in threads: the first world's method begins when its plain loop has ended, while the second world's
    goes on; a trunk that fails lets its methods run all the same."""
    log: list[str] = []

    def run_here(recipe: Recipe, options: RunOptions, run: str) -> Ended:
        log.append(f"{run} begins")
        if run == "methods-world-fallible-plain-1":
            wait_until(lambda: "methods-world-cream-1 begins" in log)
        log.append(f"{run} ends")
        return Ended({}, "no pairs")

    monkeypatch.setattr(here, "run_here", run_here)
    monkeypatch.setattr(here, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(here, "ProcessPoolExecutor", lambda cores, *_, **__: ThreadPoolExecutor(cores))
    plan = Plan(seeds=(1,), worlds=(PERFECT, FALLIBLE), methods=(PLAIN, CREAM))
    ended = dict(here.run_all(list(wanted_runs(plan, tmp_path)), RunOptions(store=str(tmp_path))))
    assert len(ended) == 4
    for world in ("world", "world-fallible"):
        assert log.index(f"methods-{world}-plain-1 ends") < log.index(f"methods-{world}-cream-1 begins")


def test_how_long_it_takes_is_told_by_what_was_made() -> None:
    """Ten runs in half an hour are 20 an hour: 40 more take two hours. What was found says nothing of that."""
    assert time_left(runs=40, made=10, seconds=1800) == "20.0 runs/h, 120 min left"
    assert time_left(runs=40, made=0, seconds=5) == "found"
    assert time_left(runs=0, made=10, seconds=1800) == "20.0 runs/h"
    made = {"stages": [{"reused": True}, {"reused": False}]}
    assert not Ended(made).found and not Ended({}, "no pairs").found
    assert Ended({"stages": [{"reused": True}]}).found


def test_the_questions_tell_a_twentieth_apart() -> None:
    """The difference of a method from the plain loop over three seeds: 600 questions, four answers to each of them.

    With probabilities p and q of a right answer that vary from question to question the variance of a question's
    difference is at most 2 * 0.25 / 4 of the draws, and 0.02 for p - q; so the standard error is at most
    sqrt(0.145 / 600) = 0.0155, and 0.05 is more than three of them.
    """
    plan = Plan()
    recipe = PLAIN.recipe(PERFECT, Path("world"), 1, plan.rounds, plan.settings)
    assert recipe.evaluation.exact_answers
    draws = 2 * 0.25 / recipe.evaluation.exact_answers.samples
    error = ((draws + 0.02) / (plan.sizes.questions * len(plan.seeds))) ** 0.5
    assert 3 * error < 0.05
    assert plan.sizes.pool == plan.rounds * recipe.prompts.count, "each round has prompts of its own"


def test_the_page_lists_the_methods_as_they_are() -> None:
    """After a change of a method: python -m examples.world.methods --page."""
    page = (ROOT / "docs/methods.md").read_text()
    assert f"<!-- methods -->\n{method_table()}\n<!-- /methods -->" in page


def test_figures_go_between_the_marks_of_the_page(tmp_path: Path) -> None:
    rows = compared([result("plain", 1, 30), result("cream", 1, 40)])
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    write_page(page, rows)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert re.search(r"\| cream \| 1 \| M2 \| 0\.400 \| \+0\.100 \(\+0\.0\d\d to \+0\.1\d\d\) \| \+0\.100 \|", text)
    write_page(page, rows)
    assert page.read_text() == text
    assert results_table(rows) in text
    draw(rows, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


SMALL = Sizes(ift=60, judgements=60, ranked=13, pool=40, questions=12)
SETTINGS = (
    *(f"data.ift={SMALL.ift}", "data.eval_prompts=12", f"eft.min_examples={SMALL.judgements}"),
    *("sft.epochs=1", "sft.batch_size=32", "sft.micro_batch_size=32", "prompts.count=12"),
    *("dpo.max_steps=2", "dpo.batch_size=4", "dpo.micro_batch_size=4", "dpo.min_held_out=1"),
    *("evaluation.exact_answers.samples=2", "gate.regress={parse_rate: 1, pairwise_accuracy: 1}"),
    "gate.ceilings={score_tie_rate: 1}",
)


def truthful(store: str) -> Script:
    """Every model of the runs: right or wrong by the draw's seed, judged by truth. The weights are trained for real."""

    def models() -> dict[str, Any]:
        stages = [entry for run in runs for entry in read_journal(store, run, "stages")]
        makers = ("base-model", "sft", "dpo")
        return {"data": [{"id": one["digest"]} for one in stages if one["name"].rpartition("/")[2] in makers]}

    def answer(_: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked, _, response = body["messages"][-1]["content"].partition(">")
        if response:
            return said(judgement(asked, response.removesuffix("?")))
        return said(f"{body.get('seed', 0) % 10}" * 5)

    runs = [f"methods-world-{method.name}-1" for method in (PLAIN, TEMPORAL)]
    return Script(answer, {"/v1/models": models})


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.nightly
def test_a_comparison_from_end_to_end(tmp_path: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain loop and temporal pairs, M1 to M3; a second time all of it is found again."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SRLM_ENDPOINT_API_KEY", "key")
    store = str(tmp_path / "store")
    script = truthful(store)
    with served(script) as url:
        plan = Plan(
            seeds=(1,),
            rounds=2,
            worlds=(PERFECT,),
            methods=(PLAIN, TEMPORAL),
            sizes=SMALL,
            settings=SETTINGS,
            options=RunOptions(store=store, tracking_uri=mlflow_server, engine="endpoint", endpoint=url),
        )
        plain, temporal = results = compare(plan, tmp_path, Console(quiet=True))
        asked = len(script.bodies)
        assert compare(plan, tmp_path, Console(quiet=True)) == results
        assert len(script.bodies) == asked
    assert [model.name for model in plain.models] == ["m1", "m2", "m3"]
    assert [one.models[0] for one in results] == [plain.models[0]] * 2, "one M1, and one first round"
    candidates, judgements = 12 * 4, 12 * 4 * 3
    assert [model.calls for model in plain.models] == [candidates + judgements] * 2 + [0]
    assert [model.calls for model in temporal.models] == [candidates + judgements, 2 * (candidates + judgements), 0]
    [row] = [row for row in compared(results) if row.method == "temporal"]
    assert row.difference and row.difference.items == 12
