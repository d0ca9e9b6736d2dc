"""Questions in a recipe: one more step where there are some, and nothing where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.core.errors import UserError
from pipelines.compile import compile_pipeline, compile_recipe
from pipelines.graph.evaluation import evaluation_pipeline
from pipelines.local.run import count_steps
from pipelines.recipe import load_recipe


def test_the_questions_are_imported_once_and_given_to_every_evaluation(tmp_path: Path) -> None:
    """The demo measures four models: the SFT baseline, M1, M2 and M3."""
    (tmp_path / "q.jsonl").write_text('{"question": "2 + 3?", "answer": "5"}\n')
    recipe = load_recipe("demo", [f"evaluation.exact_answers.questions={tmp_path}/q.jsonl"])
    compile_recipe(load_recipe("demo"), tmp_path / "without.yaml")
    compile_recipe(recipe, tmp_path / "with.yaml")
    assert count_steps(tmp_path / "with.yaml") == count_steps(tmp_path / "without.yaml") + 1
    inputs = evaluation_inputs(tmp_path / "with.yaml")
    assert len(inputs) == 4
    assert all("runtimeValue" not in one for one in inputs)
    assert evaluation_inputs(tmp_path / "without.yaml") == [{"runtimeValue": {"constant": ""}}] * 4


def evaluation_inputs(compiled: Path) -> list[dict[str, object]]:
    """What the parameter `questions` of every evaluation step is."""
    spec = next(yaml.safe_load_all(compiled.read_text()))
    dags = [spec["root"], *spec["components"].values()]
    tasks = [task for dag in dags if "dag" in dag for task in dag["dag"]["tasks"].values()]
    used = [task for task in tasks if task["componentRef"]["name"].startswith("comp-evaluation")]
    return [task["inputs"]["parameters"]["questions"] for task in used]


def test_two_models_are_compared_by_the_same_questions(tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["evaluation.exact_answers={questions: s3://bucket/q.jsonl}"])
    compile_pipeline(evaluation_pipeline(recipe), tmp_path / "evaluate.yaml")
    assert [set(one) for one in evaluation_inputs(tmp_path / "evaluate.yaml")] == [{"taskOutputParameter"}] * 2


def test_a_relative_path_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.jsonl").write_text("")
    exact = load_recipe("demo", ["evaluation.exact_answers.questions=q.jsonl"]).evaluation.exact_answers
    assert exact is not None
    assert exact.questions == str(tmp_path / "q.jsonl")


def test_mistakes_are_told_with_their_path() -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("demo", ["evaluation.exact_answers.pattern=(", "evaluation.exact_answers.temperature=0"])
    for part in ("3 mistakes", "exact_answers.questions: is missing", "exact_answers.pattern: must be a regular"):
        assert part in caught.value.problem
