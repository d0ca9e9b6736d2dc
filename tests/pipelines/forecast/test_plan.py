"""What a plan says of a run that was never made: its stages, their work, and nothing that nobody knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components.core.records import Counts
from components.training.shape import LLAMA_3_8B
from pipelines.forecast.estimate import by_formula, by_measurements, left_of
from pipelines.forecast.history import Measured
from pipelines.forecast.plan import Plan, Total, make_plan
from pipelines.forecast.work import Work, work_of
from pipelines.recipe import load_recipe, shipped_recipes
from tests.helpers.paths import ROOT

EMBEDDED = {"engine": "embedded"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of the demo and a store that is not there."""
    store = tmp_path_factory.mktemp("plan") / "store"
    made = make_plan(load_recipe("demo"), str(store), "plan", EMBEDDED)
    assert not store.exists()  # nothing was written
    return made


def asked(work: Work) -> dict[str, int]:
    return {one.what: one.number for one in work.asked}


def test_a_plan_of_the_demo_counts_what_its_recipe_and_its_data_say(demo: Plan) -> None:
    """6 prompts with 4 candidates and 2 judgements each; 6 held-out prompts and 8 instructions; 16 IFT examples and at
    most 20 of EFT in batches of 4; of at most 6 pairs 2 are held out, and the others seen twice."""
    work = {line.found.name: line.work for line in demo.lines}
    assert asked(work["m1/sampling"]) == {"candidates": 24}
    assert asked(work["m2/judging"]) == {"judgements": 48} and work["m2/judging"].bound
    assert asked(work["m3/evaluation"])["answers"] == 14
    assert asked(work["m1/annotation"]) == {"preferences": 8}
    assert (work["m1/sft"].steps, work["m1/sft"].bound) == (9, True)
    assert (work["m2/dpo"].steps, work["m2/dpo"].examples) == (2, 8)


def test_what_is_not_known_is_said_and_not_zero(demo: Plan) -> None:
    """Keys of stages whose inputs are not made, and times of what nobody has measured."""
    lines = {line.found.name: line for line in demo.lines}
    assert lines["m0/base-model"].found.key and not demo.finished
    assert lines["m1/judging"].found.key == "" and lines["m1/judging"].found.waits_for == "m1/sampling"
    assert demo.total() == Total(None, list(lines), None, None)


def test_a_plan_loads_no_heavy_library(tmp_path: Path) -> None:
    code = "import sys; from pipelines.forecast.plan import make_plan; from pipelines.recipe import load_recipe\n"
    code += f"make_plan(load_recipe('demo'), {str(tmp_path)!r}, 'plan', {EMBEDDED})\n"
    code += "print(*{'torch', 'transformers', 'mlflow', 'matplotlib', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_has_a_plan(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, too: what is not here is not looked at. Those for GPUs have an estimate by formula."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = load_recipe(name)
    made = make_plan(recipe, str(tmp_path), "plan", EMBEDDED)
    names = {line.found.name for line in made.lines}
    rounds = {
        f"m{n}/{kind}" for n in range(1, recipe.rounds + 1) for kind in ("prompts", "sampling", "judging", "pairs")
    }
    assert rounds | {f"m{recipe.rounds + 1}/dpo", "eft", "m0/evaluation"} <= names
    assert bool(made.total().gpu_hours) == (recipe.resources.gpus > 0)


def test_what_is_made_is_counted_in_place_of_what_the_recipe_asks_for() -> None:
    """7 candidates of 24 are whole: with 2 judgements each they are 14. Of 5 pairs 2 are held out."""
    counts = {"m1/sampling": Counts(kept={"candidates": 7}), "m1/pairs": Counts(kept={"pairs": 5})}
    recipe = load_recipe("demo")
    judging, dpo = work_of("m1/judging", recipe, counts), work_of("m2/dpo", recipe, counts)
    assert asked(judging) == {"judgements": 14} and not judging.bound
    assert (dpo.examples, dpo.steps, dpo.bound) == (6, 2, False)


def test_what_methods_ask_beside_is_counted() -> None:
    """8 prompts with 4 candidates: 8 rubrics, 12 ordered couples of each prompt's candidates, and of one's 3 judgements
    6. Of 17 pairs of answers and 3 of judgements two are held out, and the others seen twice."""
    methods = ["pairs.comparisons={}", "pairs.meta_judge={}", "judging.rubrics={}", "dpo.max_length=1024"]
    recipe = load_recipe("demo", [*methods, "prompts.count=8", "sampling.candidates=4", "judging.samples=3"])
    found = {kind: work_of(f"m1/{kind}", recipe, {}) for kind in ("rubrics", "pairwise_judging", "meta_judging")}
    assert [asked(one) for one in found.values()] == [
        *({"rubrics": 8}, {"comparisons": 96}, {"comparisons of judgements": 48}),
    ]
    counts = {"m1/pairs": Counts(kept={"pairs": 17, "pairs of judgements": 3})}
    assert work_of("m2/dpo", recipe, counts).examples == 18 * 2


def measured(*pairs: tuple[int, float]) -> list[Measured]:
    return [Measured("before", "m1/sampling", "uri", size, seconds, ()) for size, seconds in pairs]


@pytest.mark.parametrize(
    ("known", "size", "expected"),
    [
        ([(100, 10.0)], 100, (10, 10, 10)),
        ([(100, 10.0)], 200, (10, 15, 20)),  # at least as long, at most twice
        ([(100, 10.0)], 50, (5, 7.5, 10)),
        ([(100, 10.0), (300, 20.0)], 500, (30, 30, 30)),  # 5 s and 5 s a hundred
        ([(0, 3.0), (0, 5.0)], 0, (4, 4, 4)),
        ([(100, 20.0), (300, 10.0)], 200, (15, 15, 15)),  # no line that makes sense: as their mean
    ],
)
def test_larger_work_is_bounded_by_what_was_measured(
    known: list[tuple[int, float]], size: int, expected: tuple[float, float, float]
) -> None:
    made = by_measurements(measured(*known), size, 0)
    assert made is not None
    assert (made.low, made.seconds, made.high) == pytest.approx(expected)
    assert "before" in made.formula  # the run that it is known from


def test_what_an_earlier_attempt_has_saved_is_not_done_again() -> None:
    """8 of 32 candidates; 3 of 4 steps, whatever early stopping has asked meanwhile."""
    recipe = load_recipe("demo", ["prompts.count=8"])
    assert left_of(work_of("m1/sampling", recipe, {}), {"candidates": 8}) == 0.75
    assert left_of(work_of("sft/sft", recipe, {}), {"checkpoints": 3, "judgements": 90}) == 0.25
    assert left_of(Work(), {}) == 1.0


def test_nothing_is_estimated_by_nothing() -> None:
    assert by_measurements([], 100, 8) is None
    demo, llama = load_recipe("demo"), load_recipe("llama3-8b")
    work = work_of("m1/sampling", llama, {})
    assert by_formula("m1/sampling", work, 1.0, demo, LLAMA_3_8B) is None  # no GPUs
    assert by_formula("m1/sampling", work, 1.0, llama, None) is None  # a model of unknown size
    whole, half = (by_formula("m1/sampling", work, left, llama, LLAMA_3_8B) for left in (1.0, 0.5))
    assert whole and half and half.seconds == pytest.approx(whole.seconds / 2)
    assert whole.gpus == 8 and whole.gpu_hours == pytest.approx(8 * whole.seconds / 3600)


def test_a_price_is_shown_where_the_recipe_says_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plans = [
        make_plan(load_recipe("llama3-8b", price), str(tmp_path), "plan", EMBEDDED)
        for price in ([], ["cluster.gpu_hour_price=2.5"])
    ]
    without, priced = (made.total() for made in plans)
    assert without.price is None and without.gpu_hours
    assert priced.price == pytest.approx(2.5 * without.gpu_hours)
