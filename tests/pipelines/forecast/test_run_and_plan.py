"""A plan and the run that it is of: what the plan lists the run makes, and of a finished run nothing is made again.

Each run trains a tiny model; what it is asked, a gateway answers (tests/helpers/tiny_loop.py). The first is `tiny_run`.
"""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from components.core.records import Judgement
from components.core.stage import Stage, read_manifest, read_records
from components.core.store import open_store
from components.judging.settings import JudgingSettings
from pipelines.forecast.plan import Plan, make_plan
from pipelines.local import run as local_run
from pipelines.local.run import RunOptions, run_recipe
from tests.helpers.scripted_endpoint import served
from tests.helpers.tiny_loop import PROMPTS, RUN, environment, gateway, tiny_options, tiny_recipe
from tests.pipelines.conftest import TinyRun

pytestmark = [pytest.mark.slow, pytest.mark.extended]
LARGER, SECOND = "prompts.count=20", "larger"


@dataclass
class Loop:
    """A store with one finished run, what was planned before it, and where it happened."""

    folder: Path
    options: RunOptions
    before: Plan
    summary: dict[str, Any]

    def plan(self, *changes: str, store: str = "") -> Plan:
        recipe = tiny_recipe(self.folder, *changes)
        return make_plan(recipe, store or self.options.store, "plan", self.options.parameters())

    def run(self, name: str, *changes: str) -> tuple[dict[str, Any], str, float]:
        """Its summary, what the screen said, its seconds."""
        said, start = io.StringIO(), time.monotonic()
        screen = Console(file=said, width=200)
        summary = run_recipe(tiny_recipe(self.folder, *changes), self.options, screen, run=name)
        return summary, said.getvalue(), time.monotonic() - start


@pytest.fixture(scope="module")
def loop(tiny_run: TinyRun, mlflow_server: str) -> Iterator[Loop]:
    folder, store = tiny_run.folder, str(tiny_run.folder / "store")
    with environment({"SRLM_HOME": str(folder / "home")}), served(gateway(store, SECOND)) as url:
        yield Loop(folder, tiny_options(store, mlflow_server, url), tiny_run.before, tiny_run.summary)


def counted(summary: dict[str, Any], stage: str) -> int:
    counts = next(one["counts"] for one in summary["stages"] if one["name"] == stage)
    return sum(counts["kept"].values()) + sum(counts["dropped"].values())


def asked(plan: Plan, stage: str, what: str) -> int:
    work = next(line.work for line in plan.lines if line.found.name == stage)
    return next(one.number for one in work.asked if one.what == what)


def test_a_plan_lists_what_the_run_then_makes_in_that_order(loop: Loop) -> None:
    assert [line.found.name for line in loop.before.lines] == [one["name"] for one in loop.summary["stages"]]
    known = {line.found.name: line.found.key for line in loop.before.lines if line.found.key}
    assert known and known.items() <= {one["name"]: one["key"] for one in loop.summary["stages"]}.items()


def test_and_as_much_work_as_the_run_then_does(loop: Loop) -> None:
    """What is kept and dropped adds up to what was asked. Of a bound as much or less."""
    assert asked(loop.before, "m1/sampling", "candidates") == counted(loop.summary, "m1/sampling") == 4 * PROMPTS
    for name in ("m0", "sft", "m1", "m2"):
        of = [asked(loop.before, f"{name}/evaluation", what) for what in ("answers", "judgements")]
        assert sum(of) == counted(loop.summary, f"{name}/evaluation")
        assert asked(loop.before, f"{name}/annotation", "preferences") == 12
    after = {line.found.name: line for line in loop.plan().lines}
    judged = read_records(after["m1/judging"].found.uri, "judgements", Judgement)
    assert len(judged) == sum(one.number for one in after["m1/judging"].work.asked)
    assert len(judged) <= asked(loop.before, "m1/judging", "judgements")
    steps = next(one["metrics"]["steps"] for one in loop.summary["stages"] if one["name"] == "m2/dpo")
    assert after["m2/dpo"].work.steps == steps


def test_after_the_run_everything_is_finished_and_it_made_it(loop: Loop) -> None:
    plan = loop.plan()
    assert plan.finished and plan.total().unknown == []
    assert {line.made_by for line in plan.lines} == {RUN}
    assert {line.found.name: line.found.uri for line in plan.lines} == {
        one["name"]: one["uri"] for one in loop.summary["stages"]
    }


def test_a_run_that_was_ended_in_the_middle_shows_how_far_it_came(loop: Loop, tmp_path: Path) -> None:
    """Half of M1's judgements, and nothing of what comes after: as a killed run leaves it."""
    store = tmp_path / "store"
    shutil.copytree(loop.options.store, store)
    finished = {line.found.name: line.found for line in loop.plan().lines}
    kinds = ("judging", "pairs", "gate", "dpo")
    for kind in kinds:
        shutil.rmtree(store / kind)
    made = read_manifest(finished["m1/judging"].uri)
    judgements = read_records(finished["m1/judging"].uri, "judgements", Judgement)
    half = judgements[: len(judgements) // 2]
    Stage(str(store), "judging", JudgingSettings(**made.settings), made.parents).save_progress("judgements", half)
    plan = loop.plan(store=str(store))
    lines = {line.found.name: line for line in plan.lines}
    assert lines["m1/judging"].found.saved == {"judgements": len(half)}
    assert lines["m1/judging"].found.key == made.key
    assert lines["m1/judging"].left == pytest.approx(1 - len(half) / len(judgements))
    assert lines["m1/pairs"].found.waits_for == "m1/judging" and lines["m2/dpo"].found.waits_for == "m1/pairs"
    left = {name for name, line in lines.items() if not line.found.manifest}
    assert {name.rpartition("/")[2] for name in left} == {*kinds, "evaluation", "annotation"}
    assert lines["m1/evaluation"].found.manifest and not lines["m2/evaluation"].found.manifest


def registry_of(loop: Loop) -> dict[str, Any]:
    client = MlflowClient(loop.options.tracking_uri)
    model = client.get_registered_model("tiny")
    versions = client.search_model_versions("name = 'tiny'")
    return {"aliases": dict(model.aliases), "tags": {one.version: dict(one.tags) for one in versions}}


def test_a_finished_run_ends_without_a_process_and_leaves_what_every_run_leaves(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: Any) -> None:
        raise AssertionError("a process was started for the steps")

    monkeypatch.setattr(local_run, "execute", started)
    before = registry_of(loop)
    summary, said, seconds = loop.run("again")
    print(f"a finished run took {seconds:.1f} s")
    assert f"every stage was reused ({len(summary['stages'])} of {len(summary['stages'])})" in said
    assert registry_of(loop) == before
    first, again = (
        {one["name"]: (one["key"], one["digest"], one["counts"], one["metrics"]) for one in made["stages"]}
        for made in (loop.summary, summary)
    )
    assert again == first and all(one["reused"] for one in summary["stages"])
    of_models = ("name", "uri", "digest", "version", "verdict", "gate", "metrics")
    assert [[one[field] for field in of_models] for one in summary["models"]] == [
        [one[field] for field in of_models] for one in loop.summary["models"]
    ]
    folders = [open_store(f"{loop.options.store}/runs/{run}") for run in (RUN, "again")]
    assert folders[0].names() == folders[1].names()  # the journal, context, summary and report
    home = loop.folder / "home" / "runs" / "again"
    assert json.loads((home / "summary.json").read_text()) == summary
    assert (home / "report.html").read_text() == (folders[1].read("report.html") or b"").decode()


def test_the_time_of_a_larger_run_is_estimated_by_that_of_a_smaller_one(loop: Loop) -> None:
    """Twice the prompts, within 1.5 times where nothing else runs (1.29 once); the bound is for a machine that does
    other things now, and did none before, or the other way round."""
    total = loop.plan(LARGER).total()
    assert total.estimate and not total.unknown
    summary, _, seconds = loop.run(SECOND, LARGER)
    assert not all(one["reused"] for one in summary["stages"])
    low, middle, high = total.estimate.low, total.estimate.seconds, total.estimate.high
    print(f"estimated {middle:.0f} s ({low:.0f} to {high:.0f}), took {seconds:.0f} s")
    assert 1 / 4 < middle / seconds < 4


def test_a_model_that_the_registry_does_not_have_is_registered_as_ever(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stages are finished, but there is something left to do: the steps are started."""
    begun = []

    def started(*_: Any) -> None:
        begun.append(True)
        raise KeyboardInterrupt

    client = MlflowClient(loop.options.tracking_uri)
    client.delete_model_version("tiny", client.get_model_version_by_alias("tiny", "m2").version)
    monkeypatch.setattr(local_run, "execute", started)
    with pytest.raises(KeyboardInterrupt):
        loop.run("unregistered")
    assert begun
