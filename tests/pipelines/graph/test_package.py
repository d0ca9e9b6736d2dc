"""What people and clusters meet of a compiled package: boxes by level, their names, their lines, its bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.core.errors import UserError
from pipelines.compile import compile_recipe, load_recipe_for_elsewhere, package
from pipelines.graph.evaluation import evaluation_pipeline
from pipelines.graph.package import dags
from pipelines.graph.self_rewarding import ROUNDS, parts, self_rewarding_pipeline
from pipelines.graph.size import ARGO_LIMIT, ETCD_LIMIT, Size, package_size, require_room
from pipelines.recipe import shipped_recipes
from tests.helpers.paths import ROOT

Spec = dict[str, Any]


def compiled(name: str, rounds: int | None = None, part: int = 1, overrides: Sequence[str] = ()) -> list[Spec]:
    overrides = [*overrides, *([] if rounds is None else [f"rounds={rounds}"])]
    return package(self_rewarding_pipeline(load_recipe_for_elsewhere(name, overrides), part))


@pytest.fixture(scope="module", params=shipped_recipes())
def documents(request: pytest.FixtureRequest) -> list[Spec]:
    """The packages that are checked in, which test_compile compares with what the recipes compile to."""
    return list(yaml.safe_load_all((ROOT / f"pipelines/compiled/{request.param}.yaml").read_text()))


def boxes(spec: Spec, dag: Spec) -> list[str]:
    """What Kubeflow's UI draws on one level: a box for each task, and one for each artifact that a task makes."""
    names = []
    for task in dag["tasks"].values():
        component = spec["components"][task["componentRef"]["name"]]
        names.append(task["taskInfo"]["name"])
        if "executorLabel" in component:
            names += list(component.get("outputDefinitions", {}).get("artifacts", {}))
    return names


def test_no_level_has_more_boxes_than_a_person_takes_in(documents: list[Spec]) -> None:
    levels = {name: boxes(documents[0], dag) for name, dag in dags(documents[0])}
    assert {name: len(level) for name, level in levels.items() if len(level) > 9} == {}


def test_every_box_says_what_is_done_to_which_model(documents: list[Spec]) -> None:
    """No number of KFP's behind a name; within a model's phase only the pairs name the model before it."""
    for name, dag in dags(documents[0]):
        titles = [task["taskInfo"]["name"] for task in dag["tasks"].values()]
        assert len(set(titles)) == len(titles)
        assert not any(re.search(r"-\d+$", title) for title in titles)
        if model := re.fullmatch(r"comp-m([1-9]\d*)", name):
            number = int(model[1])
            assert f"train M{number}" in titles
            named = {found for title in titles for found in re.findall(r"M\d+", title)}
            assert named == ({"M1"} if number == 1 else {f"M{number - 1}", f"M{number}"})


def test_a_run_reads_like_the_paper() -> None:
    spec = compiled("llama3-8b")[0]
    outer = spec["components"]["comp-exit-handler-1"]["dag"]
    assert in_order(outer) == ["prepare", "M0", "SFT baseline", "M1", "M2 (round 1)", "M3 (round 2)"]
    inner = {
        task["taskInfo"]["name"]: spec["components"][task["componentRef"]["name"]] for task in outer["tasks"].values()
    }
    assert in_order(inner["M2 (round 1)"]["dag"]) == [
        *["pair M1's answers", "train M2", "sample M2 + judge M2 + measure M2", "gate and register M2"]
    ]
    assert in_order(spec["components"]["comp-m3"]["dag"]) == [
        *["pair M2's answers", "train M3", "measure M3", "gate and register M3"]
    ]


@pytest.mark.parametrize("override", ["data.ift=0", "sft.baseline=false"])
def test_without_a_baseline_nothing_is_trained_before_m1(override: str) -> None:
    """M0 is the baseline: it was measured and registered in its own phase, and writes the EFT examples in M1's."""
    spec = compiled("llama3-8b", overrides=(override,))[0]
    outer = spec["components"]["comp-exit-handler-1"]["dag"]
    assert in_order(outer) == ["prepare", "M0", "M1", "M2 (round 1)", "M3 (round 2)"]
    steps = in_order(spec["components"]["comp-m1"]["dag"])
    assert sorted(steps[:3]) == ["train M1", "write EFT examples", "write prompts"]
    assert steps.index("write EFT examples") < steps.index("train M1")
    arguments = outer["tasks"]["m1"]["inputs"]["parameters"]
    assert arguments["before"]["taskOutputParameter"]["producerTask"] == "m0"
    assert arguments["eft_examples"]["runtimeValue"]["constant"] == ""


def in_order(dag: Spec) -> list[str]:
    """Titles, each task after those that it waits for."""
    tasks, titles = dict(dag["tasks"]), []
    while tasks:
        name = next(name for name, task in tasks.items() if not set(task.get("dependentTasks", [])) & set(tasks))
        titles.append(tasks.pop(name)["taskInfo"]["name"])
    return titles


def test_phases_hang_on_one_line(documents: list[Spec]) -> None:
    """Each takes the state of the one before it and nothing of any other, so that no lines cross."""
    tasks = documents[0]["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    before = {name: task.get("dependentTasks", []) for name, task in tasks.items()}
    assert sorted(map(len, before.values())) == [0] + [1] * (len(before) - 1)
    assert len({one for names in before.values() for one in names}) == len(before) - 1


def test_what_a_person_looks_at_is_made_where_a_phase_ends(documents: list[Spec]) -> None:
    """One page a phase; figures of each model once, where it is registered (the SFT baseline) or gated."""
    spec = documents[0]
    for name, dag in dags(spec):
        artifacts = [
            artifact["artifactType"]["schemaTitle"]
            for task in dag["tasks"].values()
            if "executorLabel" in (component := spec["components"][task["componentRef"]["name"]])
            for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
        ]
        if name == "comp-exit-handler-1" or name.startswith("comp-hand-over"):
            assert artifacts == []
        elif re.fullmatch(r"comp-(m\d+|sft-2|sft)", name):
            assert sorted(artifacts) == ["system.HTML", "system.Metrics"]
        else:
            assert artifacts == ["system.HTML"]


def test_a_phase_runs_unless_the_gate_before_it_said_stop() -> None:
    """Not in a group of its own inside the group of the round before, where nobody would find M3."""
    spec = compiled("demo")[0]
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    conditions = {name: task["triggerPolicy"]["condition"] for name, task in tasks.items() if "triggerPolicy" in task}
    assert conditions == {
        name: f"inputs.parameter_values['pipelinechannel--{gate}-Output'] != 'stop'"
        for name, gate in (("m2", "m1"), ("m3", "m2"))
    }
    assert not any("condition-" in name for name, _ in dags(spec))


def test_a_component_stands_once_however_many_rounds_use_it() -> None:
    spec, platform = compiled("demo", rounds=3)
    executors = spec["deploymentSpec"]["executors"]
    assert len({str(executor) for executor in executors.values()}) == len(executors)
    assert set(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]) == set(executors)
    used = {task["componentRef"]["name"] for _, dag in dags(spec) for task in dag["tasks"].values()}
    assert used == set(spec["components"])
    assert {one["executorLabel"] for one in spec["components"].values() if "executorLabel" in one} == set(executors)


def test_every_shipped_recipe_reaches_its_end_with_room_to_spare(documents: list[Spec]) -> None:
    require_spare_room(package_size(documents))


@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize("name", shipped_recipes())
def test_so_does_each_part_of_a_long_run(name: str, part: int) -> None:
    require_spare_room(package_size(compiled(name, rounds=3 * ROUNDS, part=part)))


def require_spare_room(size: Size) -> None:
    """Three tenths of both limits, as docs/kubeflow.md says."""
    assert size.running <= 0.7 * ARGO_LIMIT
    assert size.retried <= 0.7 * ETCD_LIMIT


def test_the_formula_gives_what_was_measured_of_the_packages_before() -> None:
    """A step of the old demo: texts of 4.7 KB, some 45 KB in six nodes. 6 x (1,000 + 1.4 x 4,700) = 45,480."""
    component = {"executorLabel": "exec-a", "text": "c" * 561}
    executors = {"exec-a": {"text": "e" * 1400}}
    task = {"componentRef": {"name": "comp-a"}, "taskInfo": {"name": "a"}, "text": "t" * 1600}
    spec = {"root": {"dag": {"tasks": {"a": task}}}, "components": {"comp-a": component}}
    spec["deploymentSpec"] = {"executors": executors}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-a": {"text": "p" * 989}}}}}}
    size = package_size([spec, platform])
    assert size.unpacked == pytest.approx(45_480, rel=0.02)
    assert (size.pods, size.packed) == (2, 6800)


def test_a_package_that_would_not_reach_its_end_is_refused_with_its_numbers() -> None:
    """A judge prompt of 200 KB is a constant of one task alone, and yet in its driver's and its own node states."""
    with pytest.raises(UserError) as refused:
        package(self_rewarding_pipeline(load_recipe_for_elsewhere("demo", [f"description={'x' * 1_000_000}"])))
    assert f"{ARGO_LIMIT:,} are allowed" in refused.value.problem


def test_a_size_adds_up() -> None:
    assert (Size(10, 3, 20, 1).running, Size(10, 3, 20, 1).retried) == (13, 30)
    require_room(compiled("demo"))


def test_the_number_of_rounds_has_no_limit() -> None:
    """Rounds 1 to 3, 4 to 6 and 7 of 7: the last model of a part is found by the next one, which starts no SFT."""
    recipe = load_recipe_for_elsewhere("llama3-8b", [f"rounds={2 * ROUNDS + 1}"])
    assert parts(recipe) == 3
    titles = []
    for part in (1, 2, 3):
        spec = package(self_rewarding_pipeline(recipe, part))[0]
        titles.append(in_order(spec["components"]["comp-exit-handler-1"]["dag"]))
    rounds = [f"M{number + 1} (round {number})" for number in range(1, 8)]
    assert titles[0] == ["prepare", "M0", "SFT baseline", "M1", *rounds[:3], "goes on in part 2"]
    assert titles[1] == ["prepare", *rounds[3:6], "goes on in part 3"]
    assert titles[2] == ["prepare", *rounds[6:]]


def test_a_run_that_its_gate_stopped_is_not_handed_over() -> None:
    tasks = compiled("demo", rounds=ROUNDS + 1)[0]["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    condition = tasks["hand-over"]["triggerPolicy"]["condition"]
    assert condition == "inputs.parameter_values['pipelinechannel--m4-Output'] != 'stop'"


def test_the_comparison_of_two_models_is_as_easy_to_take_in(tmp_path: Path) -> None:
    spec = package(evaluation_pipeline(load_recipe_for_elsewhere("demo")))[0]
    assert in_order(spec["components"]["comp-exit-handler-1"]["dag"]) == ["prepare", "compare"]
    assert all(len(boxes(spec, dag)) <= 9 for _, dag in dags(spec))


def test_so_is_one_with_trainings_of_other_seeds() -> None:
    """One training after the other, each measured before the next; the box that shows them comes last."""
    spec, _ = package(evaluation_pipeline(load_recipe_for_elsewhere("llama2-70b-lora"), 2))
    outer = spec["components"]["comp-exit-handler-1"]["dag"]
    assert in_order(outer) == ["prepare", "compare", "seed 1", "seed 2", "compare the trainings"]
    assert all(len(boxes(spec, dag)) <= 9 for _, dag in dags(spec))
    for number in (1, 2):
        dag = spec["components"][f"comp-seed-{number}"]["dag"]
        assert in_order(dag) == ["train again", "measure"]
        assert dag["tasks"]["dpo-again"]["inputs"]["parameters"]["number"]["runtimeValue"]["constant"] == number
    executor = spec["components"]["comp-dpo-again"]["executorLabel"]
    assert "accelerator" in str(spec["deploymentSpec"]["executors"][executor]["container"]["resources"])  # GPUs


def test_the_recipe_stands_in_the_package_once(tmp_path: Path) -> None:
    """Steps read it from the run's folder; it used to be repeated, in parts, by every one of 48 steps.

    The judge prompt is in two of its sections, judging and evaluation.
    """
    compile_recipe(load_recipe_for_elsewhere("demo"), tmp_path / "demo.yaml")
    assert (tmp_path / "demo.yaml").read_text().count("Judge how well the response serves") == 2


def test_a_person_has_nothing_to_fill_in_and_is_told_what_each_parameter_is(documents: list[Spec]) -> None:
    """Kubeflow's form sorts by name: what must be filled in would stand last there, among twelve fields."""
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert [name for name, one in parameters.items() if not one.get("isOptional")] == []
    assert [name for name, one in parameters.items() if not one.get("description")] == []
    spec, platform = documents
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for step in ("exec-prepare", "exec-finish"):
        named = [one["envVar"] for source in pods[step]["configMapAsEnv"] for one in source["keyToEnv"]]
        assert {"SRLM_STORE", "SRLM_TRACKING_URI"} <= set(named)
    assert spec["deploymentSpec"]["executors"].keys() >= {"exec-prepare", "exec-finish"}
