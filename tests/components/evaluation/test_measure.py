"""The step that measures a model: which stages it makes, in which order, and when each server is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.core.context import RunData
from components.core.records import Counts
from components.core.settings import Settings
from components.core.stage import Stage
from components.evaluation import measure as module
from components.evaluation.measure import measure_model, run_annotator
from components.serving.engines.served_model import ServedModel
from tests.components.run.test_lifecycle import context

DATA = {"seed_data": "seeds", "instructions": "", "questions": "questions", "base": "", "writer": "", "annotator": "m0"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What is made and stopped, in order, with the arguments that matter; every stage is an empty one of its name."""
    seen: list[Any] = []

    def make(name: str, *told: int) -> Any:
        def stage(root: str, settings: Settings, *arguments: Any) -> Any:
            seen.append((name, *(arguments[n] for n in told)))
            return Stage(root, name, Settings(), {}).publish(Counts())

        return stage

    monkeypatch.setattr(module, "evaluate", make("evaluation", 0))
    monkeypatch.setattr(module, "run_benchmarks", make("benchmarks"))
    monkeypatch.setattr(module, "answer_questions", make("mt_bench_answers"))
    monkeypatch.setattr(module, "make_annotations", make("annotation", 2, 3))
    monkeypatch.setattr(module, "grade", make("mt_bench"))
    monkeypatch.setattr(module.Annotator, "parent", lambda self: None)
    monkeypatch.setattr(ServedModel, "stop", lambda self: seen.append(("stop", self.name)))
    return seen


def measured(
    tmp_path: Path, opponent: str = "", data: dict[str, str] = DATA, engine: str = "embedded", **recipe: Any
) -> dict[str, Any]:
    written = replace(context(tmp_path, **recipe), engine=engine)
    written.write()
    before = {"run": written.uri, "data": data, "prompts": []}
    return measure_model("m2", before, "model", opponent)


def test_the_questions_are_given_to_the_evaluation(tmp_path: Path, calls: list[Any]) -> None:
    result = measured(tmp_path)
    assert [call[0] for call in calls] == ["evaluation", "stop"]
    assert (calls[0][1].model, calls[0][1].seed_data, calls[0][1].questions) == ("model", "seeds", "questions")
    assert result == {"evaluation": result["stages"][0], "annotation": "", "stages": result["stages"]}


def test_the_models_server_is_gone_before_the_annotator_is_asked(tmp_path: Path, calls: list[Any]) -> None:
    """On a small machine, and on one GPU, only one of them has room."""
    suites = {"benchmarks": {"tasks": ["arc_easy"]}, "mt_bench": {"questions": "x"}}
    result = measured(tmp_path, data=DATA | {"instructions": "set"}, **suites)
    assert [call[:2] if call[0] == "stop" else call[0] for call in calls] == [
        *["evaluation", "benchmarks", "mt_bench_answers", ("stop", "m2")],
        *["annotation", "mt_bench", ("stop", "m2-annotator")],
    ]
    assert [uri.split("/")[-2] for uri in result["stages"]] == [
        *["evaluation", "benchmarks", "mt_bench_answers", "annotation", "mt_bench"]
    ]
    assert result["annotation"] == result["stages"][3]


@pytest.mark.parametrize(("instructions", "read"), [("set", ["annotation"]), ("", [])])
def test_a_model_that_annotates_its_own_answers_is_served_once(
    tmp_path: Path, calls: list[Any], instructions: str, read: list[str]
) -> None:
    """M0 in a run whose annotator it is: a server takes seconds to start, and this one has that model."""
    measured(tmp_path, data=DATA | {"instructions": instructions, "annotator": "model"})
    assert [call if call[0] == "stop" else call[0] for call in calls] == ["evaluation", *read, ("stop", "m2")]


@pytest.mark.parametrize("base", ["m0", "other"])
def test_an_annotator_that_is_kept_has_one_server_for_all_models(tmp_path: Path, calls: list[Any], base: str) -> None:
    """M0's own, where the annotator is M0. Where there is nothing to read M0's server has no reason to stay; nor has it
    on a cluster, where it would hold the GPU that the next model waits for."""
    data, kept = DATA | {"instructions": "set", "base": base}, {"annotation": {"keep_served": True}}
    assert stopped(tmp_path, calls, data=data, **kept) == ["m2"]
    written = context(tmp_path)
    names = {run_annotator(written, name, RunData(**data), kept=True).name for name in ("m1", "m2")}
    assert names == {"m0" if base == "m0" else "annotator"}
    assert stopped(tmp_path, calls, data=DATA | {"annotator": "model"}, **kept) == ["m2"]
    assert stopped(tmp_path, calls, data=data, engine="vllm", **kept) == ["m2", "m2-annotator"]


def stopped(tmp_path: Path, calls: list[Any], **measuring: Any) -> list[str]:
    """Whose servers were stopped, in order."""
    calls.clear()
    measured(tmp_path, **measuring)
    return [call[1] for call in calls if call[0] == "stop"]


@pytest.mark.parametrize(("head_to_head", "compared"), [(True, [("annotation", "other", "")]), (False, [])])
def test_the_model_before_is_an_opponent_where_the_recipe_wants_it(
    tmp_path: Path, calls: list[Any], head_to_head: bool, compared: list[Any]
) -> None:
    measured(tmp_path, "other", annotation={"head_to_head": head_to_head})
    assert [call for call in calls if call[0] == "annotation"] == compared
