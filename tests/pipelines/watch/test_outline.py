"""What a run will do, as its packages tell it."""

from __future__ import annotations

from pipelines.compile import package
from pipelines.graph.evaluation import evaluation_pipeline
from pipelines.graph.self_rewarding import parts, self_rewarding_pipeline
from pipelines.recipe import load_recipe
from pipelines.watch.outline import outline


def test_phases_and_steps_stand_in_the_order_in_which_they_run() -> None:
    """The rounds of the paper's figure 1; a package itself has them by name, and one box for several of them."""
    phases = outline([package(self_rewarding_pipeline(load_recipe("llama3-8b")))[0]])
    assert [phase.title for phase in phases] == [
        *("prepare", "M0", "SFT baseline", "M1", "M2 (round 1)", "M3 (round 2)", "report")
    ]
    m2 = ("pair M1's answers", "train M2", "sample M2", "judge M2", "measure M2", "gate and register M2")
    assert phases[4].steps == m2
    assert phases[-1].steps == ("report",)


def test_a_run_in_two_parts_is_one_run() -> None:
    """Five rounds: what both parts do (open the run, report) stands there once, the report at the end."""
    recipe = load_recipe("llama3-8b", ["rounds=5"])
    assert parts(recipe) == 2
    phases = outline(package(self_rewarding_pipeline(recipe, part))[0] for part in (1, 2))
    titles = [phase.title for phase in phases]
    assert titles == ["prepare", "M0", "SFT baseline", "M1", *titles[4:-1], "report"]
    assert [title for title in titles if title.startswith("M")] == [
        *("M0", "M1", *(f"M{number + 1} (round {number})" for number in range(1, 6)))
    ]
    steps = [step for phase in phases for step in phase.steps]
    assert len(steps) == len(set(steps))


def test_a_comparison_has_steps_outside_of_phases() -> None:
    phases = outline([package(evaluation_pipeline(load_recipe("demo"), 1))[0]])
    assert [phase.title for phase in phases][:2] == ["prepare", "compare"]
    assert phases[-2].steps == ("compare the trainings",)
