"""Several steps in one pod: what is left of them when it is lost in its middle, and what the next one does."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from components.core.context import RunContext, RunData, RunState
from components.core.course import FIRST_STEP, Course, read_courses, recorded
from components.core.journal import read_journal
from components.core.step import step
from components.evaluation.component import sample_judge_measure
from components.serving.address import JUDGE_KEY
from tests.helpers.scripted_endpoint import served
from tests.helpers.tiny_loop import environment, gateway, tiny_options, tiny_recipe
from tests.pipelines.conftest import TinyRun

pytestmark = [pytest.mark.slow, pytest.mark.extended]
RUN = "lost-pod"


def test_the_next_pod_begins_with_what_the_lost_one_had_not_finished(
    tiny_run: TinyRun, mlflow_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """M1 of the tiny run, with half of its candidates. The first pod ends where it judges, as the judge refuses its
    key; the next one of the same attempt asks for no candidate again. Sampling and judging are told as made by this
    run, each by a step of its own; the evaluation is the tiny run's, whose settings are the same."""
    store = str(tiny_run.folder / "store")
    asked = gateway(store)
    home = {"SRLM_HOME": str(tiny_run.folder / "home")}
    with environment(home), served(asked) as url:
        uris = {one["name"]: one["uri"] for one in tiny_run.summary["stages"]}
        where = tiny_options(store, mlflow_server, url).parameters()
        recipe = tiny_recipe(tiny_run.folder, "sampling.candidates=2").to_dict()
        known = {one.name: where.get(one.name, "") for one in fields(RunContext)} | {"changed": {}}
        context = RunContext(**known | {"store": store, "run": RUN, "recipe": recipe})
        with recorded(store, RUN, FIRST_STEP), step(FIRST_STEP):
            context.write()
        before = state(context, uris)

        def pod() -> Any:
            return sample_judge_measure.python_func("m1", before, uris["m1/sft"], [uris["m1/prompts"]])

        with environment(home | {JUDGE_KEY: "another"}), pytest.raises(SystemExit) as ended:
            pod()
        assert ended.value.code == 2 and "error in m1/judging: " in capsys.readouterr().err
        sampled, judged = courses(store)
        assert (sampled.state, judged.state) == ("done", "failed")
        texts = len(asked.answered["text"])
        candidates, judgements, prompts, measured = pod()
        assert len(asked.answered["text"]) == texts > 0
        assert [(one.name, one.state) for one in courses(store)] == [
            *[("sample M1", "done"), ("judge M1", "done"), ("measure M1", "done")]
        ]
        assert courses(store)[0] == sampled
        stages = {one["name"]: one for one in read_journal(store, RUN, "stages")}
    assert {name: one["reused"] for name, one in stages.items()} == {
        **{"m1/sampling": False, "m1/judging": False, "m1/evaluation": True, "m1/annotation": True}
    }
    assert (candidates, judgements) == (stages["m1/sampling"]["uri"], stages["m1/judging"]["uri"])
    assert (prompts, measured["evaluation"]) == ([uris["m1/prompts"]], uris["m1/evaluation"])


def state(context: RunContext, uris: dict[str, str]) -> dict[str, Any]:
    """That before M1's phase, as the tiny run had it."""
    names = {"seed-data": "seed_data", "evaluation-texts": "evaluation_texts", "m0/base-model": "base"}
    data = {names.get(name, name): uri for name, uri in uris.items() if name in (*names, "instructions", "questions")}
    before = RunState(context.uri, RunData(**data), "sft", uris["sft/sft"], uris["sft/evaluation"])
    return before.to_dict()


def courses(store: str) -> list[Course]:
    return [one for one in read_courses(store, RUN) if one.name != FIRST_STEP]
