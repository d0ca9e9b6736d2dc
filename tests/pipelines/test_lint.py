"""The lint finds what KFP's compiler lets pass: small broken pipelines, one for each finding, and a sound one."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from components.core.errors import UserError
from pipelines.compile import compile_pipeline, load_recipe_for_elsewhere
from pipelines.graph.evaluation import evaluation_pipeline
from pipelines.lint import lint
from pipelines.recipe import shipped_recipes

Spec = dict[str, Any]


@dsl.component(base_image="nobody/nothing", install_kfp_package=False)
def text(value: str) -> str:
    return value


@dsl.component(base_image="nobody/nothing", install_kfp_package=False)
def number(value: int) -> int:
    return value


@dsl.component(base_image="nobody/nothing", install_kfp_package=False)
def artifact(made: dsl.Output[dsl.Artifact]) -> None:
    pass


@dsl.component(base_image="nobody/nothing", install_kfp_package=False)
def use(made: dsl.Input[dsl.Artifact]) -> None:
    pass


def step(task: Any, image: Any) -> Any:
    return task.set_caching_options(False).set_container_image(image)


@dsl.pipeline(name="inner")
def inner(worker_image: str, value: str) -> str:
    first = step(text(value=value), worker_image)
    return step(text(value=first.output), worker_image).output  # type: ignore[no-any-return]


@dsl.pipeline(name="sound")
def sound(value: str = "a", worker_image: str = "ours") -> None:
    last = step(text(value="end"), worker_image)
    with dsl.ExitHandler(last):
        made = inner(worker_image=worker_image, value=value).set_caching_options(False)
        with dsl.If(made.output != "stop"):
            inner(worker_image=worker_image, value=made.output).set_caching_options(False)


def documents(pipeline: Any, folder: Path) -> list[Spec]:
    path = folder / "compiled.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return list(yaml.safe_load_all(path.read_text()))


def memory_in_a_condition(worker_image: str, memory: str) -> None:
    with dsl.If(step(text(value=memory), worker_image).output == "go"):
        step(text(value="b"), "nobody/nothing").set_memory_limit(memory)


def nested_loops(worker_image: str) -> None:
    with dsl.ParallelFor(["a", "b"]) as one, dsl.ParallelFor(["c", "d"]) as other:
        text(value=one).set_caching_options(False)
        text(value=other).set_caching_options(False)


def one_of_artifacts(worker_image: str, value: str) -> None:
    with dsl.If(step(text(value=value), worker_image).output == "go", name="yes"):
        first = step(artifact(), "nobody/nothing")
    with dsl.Else(name="no"):
        second = step(artifact(), "nobody/nothing")
    step(use(made=dsl.OneOf(first.outputs["made"], second.outputs["made"])), worker_image)


def quote(worker_image: str, value: str) -> None:
    with dsl.If(step(text(value=value), worker_image).output == "it's"):
        step(text(value="b"), "nobody/nothing")


def fraction(worker_image: str) -> None:
    with dsl.If(step(number(value=1), worker_image).output > 0.5):
        step(text(value="b"), "nobody/nothing")


def cached(worker_image: str) -> None:
    text(value="b").set_container_image(worker_image)


def foreign_image(worker_image: str) -> None:
    text(value="b").set_caching_options(False)


def image_from_elsewhere(some_image: str) -> None:
    step(text(value="b"), some_image)


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        (memory_in_a_condition, "takes pipelinechannel--memory, which its pipeline does not receive"),
        (nested_loops, "a loop inside a loop"),
        (one_of_artifacts, "one of several artifacts"),
        (quote, "holds a quote"),
        (fraction, "a whole number with a fraction"),
        (cached, "cache is on"),
        (foreign_image, "its image is nobody/nothing"),
        (image_from_elsewhere, "not one of worker_image and trainer_image"),
    ],
)
def test_each_mistake_that_kfp_compiles_is_found(graph: Callable[..., None], found: str, tmp_path: Path) -> None:
    mistakes = lint(documents(dsl.pipeline(graph, name="broken"), tmp_path))
    assert any(found in mistake for mistake in mistakes), mistakes


def test_a_sound_pipeline_has_no_mistake(tmp_path: Path) -> None:
    assert lint(documents(sound, tmp_path)) == []


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_comparison_of_two_models_is_sound(name: str, tmp_path: Path) -> None:
    """compile_pipeline itself refuses what is not; the loops are compiled by test_recipe."""
    compile_pipeline(evaluation_pipeline(load_recipe_for_elsewhere(name)), tmp_path / "pipeline.yaml")


def parameter_of_the_inner_pipeline(spec: Spec) -> None:
    del spec["components"]["comp-inner"]["inputDefinitions"]["parameters"]["value"]


def producer(spec: Spec) -> None:
    del spec["components"]["comp-inner"]["dag"]["tasks"]["text"]


def output_of_a_step(spec: Spec) -> None:
    del spec["components"]["comp-text-2"]["outputDefinitions"]


def argument(spec: Spec) -> None:
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    del tasks["inner"]["inputs"]["parameters"]["value"]


def what_a_condition_reads(spec: Spec) -> None:
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    tasks["condition-2"]["inputs"]["parameters"].pop("pipelinechannel--inner-Output")


def what_an_image_reads(spec: Spec) -> None:
    del spec["components"]["comp-inner"]["dag"]["tasks"]["text"]["inputs"]["parameters"][
        "pipelinechannel--worker_image"
    ]


def outermost_place_of_the_exit(spec: Spec) -> None:
    spec["components"]["comp-inner"]["dag"]["tasks"]["text"]["triggerPolicy"] = {
        "strategy": "ALL_UPSTREAM_TASKS_COMPLETED"
    }


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (parameter_of_the_inner_pipeline, "inner/text: input value takes value, which its pipeline does not receive"),
        (producer, "inner/text-2: input value takes Output of text, which does not make it"),
        (producer, "inner/text-2: it waits for text, which is not beside it"),
        (output_of_a_step, "inner: output Output takes Output of text-2, which does not make it"),
        (argument, "exit-handler-1/inner: input value is not given"),
        (what_a_condition_reads, "its condition reads pipelinechannel--inner-Output, which it does not receive"),
        (what_an_image_reads, "inner/text: its pod's settings read pipelinechannel--worker_image"),
        (what_an_image_reads, "inner/text: an input reads pipelinechannel--worker_image"),
        (outermost_place_of_the_exit, "inner/text: an exit handler only stands at the outermost level"),
    ],
)
def test_each_part_that_a_compiled_file_lacks_is_found(
    damage: Callable[[Spec], None], found: str, tmp_path: Path
) -> None:
    whole = documents(sound, tmp_path)
    broken = copy.deepcopy(whole)
    damage(broken[0])
    mistakes = lint(broken)
    assert any(found in mistake for mistake in mistakes), mistakes


def test_an_unsound_pipeline_is_refused_with_all_its_mistakes_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        compile_pipeline(dsl.pipeline(nested_loops, name="broken"), tmp_path / "pipeline.yaml")
    assert "a loop inside a loop" in refused.value.problem
    assert refused.value.problem.count("its image is nobody/nothing") == 2
    assert list(tmp_path.iterdir()) == []
