"""The whole loop on a small world: the compiled YAML, a real S3 store, a real MLflow server, the real engine.

All tests read one undisturbed run; its servers stay up until the last of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from components.core import store
from components.core.model_files import model_folder
from components.core.processes import alive
from components.core.records import Candidate, Check, Instruction, Pair
from components.core.stage import read_records
from components.core.store import open_store
from components.registry.client import MLFLOW_RUN
from components.review.items import Item
from components.review.sources import find_items
from examples.world.proof import SHORT, prove, report
from examples.world.truth import answer, true_score
from pipelines.graph import self_rewarding
from pipelines.local.run import RunOptions, run_recipe
from pipelines.local.services import BUCKET, services
from pipelines.recipe import load_recipe
from tests.helpers.chromium import chromium
from tests.helpers.command_line import srlm
from tests.helpers.paths import ROOT
from tests.helpers.report_page import assert_it_reads_well
from tests.helpers.small_world import SEED, VERDICTS, SmallWorld, small_settings, write_small_world

pytestmark = pytest.mark.slow
MODELS = ["m0", "sft", "m1", "m2", "m3"]
STORE = f"s3://{BUCKET}/artifacts"
TIMEOUT_S = 1200.0  # nothing here takes that long unless the machine is very busy


@dataclass
class Runner:
    """`srlm run` of the small world in a folder of its own."""

    folder: Path
    world: SmallWorld

    def start(self, *options: str) -> subprocess.Popen[str]:
        return self.srlm("run", str(self.world.recipe), *self.annotator, *options)

    @property
    def annotator(self) -> tuple[str, str]:
        return "--annotator-endpoint", self.world.annotator

    def srlm(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipelines.cli.main", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SRLM_"))}
        environment["PYTHONPATH"] = str(ROOT)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # a test run in the background of a shell would hand down that it ignores the interrupt
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, *options: str) -> tuple[int, str]:
        return self.finish(self.start(*options))

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        output, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output

    def here(self, *arguments: str) -> tuple[int, str]:
        """In this process; of a registry that is not there nothing is expected any more."""
        return srlm(self.folder, *arguments, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")

    def summaries(self) -> list[dict[str, Any]]:
        """Of all runs of the small world that came to an end, oldest first; a run is named after recipe and date."""
        return [json.loads(p.read_text()) for p in sorted(self.folder.glob(".srlm/runs/small-world-*/summary.json"))]

    def servers(self) -> dict[Path, int]:
        """Logs of all servers that were started so far, one for each model and run, and when each was last written."""
        return {path: path.stat().st_mtime_ns for path in self.folder.glob(".srlm/servers/*/*.log")}

    def events(self) -> str:
        """What all runs so far have told, oldest first."""
        return "".join(p.read_text() for p in sorted(self.folder.glob(".srlm/runs/*/events.jsonl")))

    def down(self) -> None:
        self.finish(self.srlm("down"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_world: SmallWorld) -> Iterator[tuple[Runner, str]]:
    """A run from start to end, and what it printed."""
    runner = Runner(tmp_path_factory.mktemp("undisturbed"), small_world)
    code, output = runner.run()
    assert code == 0, output
    assert runner.finish(runner.srlm("up"))[0] == 0  # else each of the tests below would start them anew
    yield runner, output
    runner.down()


@contextmanager
def store_of(runner: Runner) -> Iterator[None]:
    """This process, too, reads the runner's store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(runner.folder / ".srlm"))
        with services() as local:
            for name, value in local.environment().items():
                patch.setenv(name, value)
            store._s3.cache_clear()  # the client of another test knows another port
            yield
    store._s3.cache_clear()


@pytest.fixture
def stages(undisturbed: tuple[Runner, str]) -> Iterator[dict[str, str]]:
    """URIs of the undisturbed run's stages by name, to be read while its store is up."""
    runner, _ = undisturbed
    with store_of(runner):
        yield {stage["name"]: stage["uri"] for stage in runner.summaries()[0]["stages"]}


def figures(runner: Runner, metric: str) -> list[float]:
    """A metric of SFT, M1, M2 and M3."""
    return [model["metrics"][metric] for model in runner.summaries()[0]["models"][1:]]


def content(summary: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on interruptions: models and stages by their digests, metrics and counts."""
    models = {m["name"]: (m["digest"], m["version"], m["metrics"]) for m in summary["models"]}
    return {"models": models, "stages": {s["name"]: (s["key"], s["digest"], s["counts"]) for s in summary["stages"]}}


def test_the_loop_makes_measures_and_registers_every_model(undisturbed: tuple[Runner, str]) -> None:
    runner, output = undisturbed
    summary = runner.summaries()[0]
    assert [model["name"] for model in summary["models"]] == MODELS
    assert len({model["digest"] for model in summary["models"]}) == 5
    assert [model["version"] for model in summary["models"]].count(None) == 0
    dpo = [stage for stage in summary["stages"] if stage["name"] in ("m2/dpo", "m3/dpo")]
    assert [round(stage["metrics"]["start_loss"], 4) for stage in dpo] == [0.6931, 0.6931]
    assert not any(stage["reused"] for stage in summary["stages"])
    assert all(name in output for name in ("SFT", "M1", "M2", "M3"))
    assert all({"parse_rate", "win_rate", "answer_length"} <= set(model["metrics"]) for model in summary["models"])
    assert all("head_to_head" in model["metrics"] for model in summary["models"][1:])


def test_every_model_answers_better_than_the_one_before(undisturbed: tuple[Runner, str]) -> None:
    """40 % of the human answers are right. Every round gains more than luck would, and whoever knows the truth sees it
    in the answers to the instructions, too."""
    runner, _ = undisturbed
    sampled = figures(runner, "exact_answers")[1:]
    assert sampled[0] > 0.4
    assert all(better - worse > 0.02 for worse, better in pairwise(sampled)), sampled
    assert sampled[-1] - sampled[0] > 0.1
    wins = figures(runner, "win_rate")
    assert wins[1] < wins[3], wins
    later = runner.summaries()[0]["models"][3:]
    assert all(model["metrics"]["win_share"] > model["metrics"]["loss_share"] for model in later)


def test_every_model_can_judge_but_the_baseline(undisturbed: tuple[Runner, str]) -> None:
    """The baseline has seen no judgement and writes none; a coin would order half of the pairs as they are."""
    runner, _ = undisturbed
    parsed, accuracy = figures(runner, "parse_rate"), [m["metrics"] for m in runner.summaries()[0]["models"][2:]]
    assert parsed[0] < 0.1
    assert min(parsed[1:]) > 0.95
    assert min(metrics["pairwise_accuracy"] for metrics in accuracy) > 0.85


def test_chosen_answers_are_better_than_rejected_ones(stages: dict[str, str]) -> None:
    """100 prompts a round; of four answers, half of them right, most often one is better than another."""
    for name, fewest in (("m1/pairs", 50), ("m2/pairs", 25)):
        pairs = read_records(stages[name], "pairs", Pair)
        assert len(pairs) >= fewest
        better = [true_score(one.prompt, one.chosen) - true_score(one.prompt, one.rejected) for one in pairs]
        assert fmean(gap > 0 for gap in better) > 0.9
        assert fmean(better) > 0.9  # points of five


@pytest.mark.extended
@pytest.mark.nightly
def test_the_short_proof_holds_in_a_smaller_world(
    undisturbed: tuple[Runner, str], stages: dict[str, str], small_world: SmallWorld, tmp_path: Path
) -> None:
    """`make proof SHORT=--short`: at random nothing is gained, and too hard a DPO is stopped at once.

    The method's run finds the undisturbed one's stages, both controls find its M1 and judgements.
    """
    options = RunOptions(annotator_endpoint=small_world.annotator)
    settings = small_settings(tmp_path / f"seed-{SEED}")
    plan = replace(SHORT, make_world=lambda folder, _: write_small_world(folder), settings=settings, options=options)
    console = Console(width=140)
    outcomes = prove(plan, tmp_path, console)
    assert report(outcomes, tmp_path, console), (tmp_path / "proof.json").read_text()
    assert [model.metrics for model in outcomes[0].models] == [
        model["metrics"] for model in undisturbed[0].summaries()[0]["models"][2:]
    ]


def test_what_is_measured_is_what_is_true(undisturbed: tuple[Runner, str], stages: dict[str, str]) -> None:
    """Accuracy and win rate, computed anew from what the models wrote and what is true. A win counts 1, equally good
    answers 1/2; the annotator is certain up to exp(-20)."""
    runner, _ = undisturbed
    asked = read_records(stages["instructions"], "instructions", Instruction)
    references = {one.id: true_score(one.text, one.reference.lstrip("=")) for one in asked}
    measured = zip(MODELS[1:], figures(runner, "exact_answers"), figures(runner, "win_rate"), strict=True)
    for name, accuracy, wins in measured:
        sampled = read_records(stages[f"{name}/evaluation"], "exact_answers", Candidate)
        assert accuracy == pytest.approx(fmean(one.text == answer(one.prompt) for one in sampled))
        outputs = read_records(stages[f"{name}/evaluation"], "outputs", Candidate)
        gaps = [true_score(one.prompt, one.text.strip()) - references[one.prompt_id] for one in outputs]
        assert wins == pytest.approx(fmean((gap > 0) + (gap == 0) / 2 for gap in gaps), abs=1e-6)


def test_the_gate_s_verdicts_are_in_the_summary(undisturbed: tuple[Runner, str]) -> None:
    """M1 is the first champion; M2 and M3 are proven to answer better than the champion before them."""
    runner, output = undisturbed
    summary = runner.summaries()[0]
    assert [model["verdict"] for model in summary["models"]] == VERDICTS
    assert [model["promoted"] for model in summary["models"]] == [False, False, True, True, True]
    reasons = [" ".join(model["reasons"]) for model in summary["models"][3:]]
    assert all("exact_answers" in reason for reason in reasons), reasons
    assert {entry["figure"] for entry in summary["drift"]} >= {"agreement with people", "pairs"}
    assert "M2 promote:" in output


def test_a_second_run_reuses_everything_and_the_registry_holds_the_models(undisturbed: tuple[Runner, str]) -> None:
    """No engine is started, no training step is made, no version is registered twice; aliases point at the models."""
    runner, _ = undisturbed
    first, served = runner.summaries()[0], runner.servers()
    code, output = runner.run()
    assert code == 0, output
    assert "every stage was reused" in output
    second = runner.summaries()[-1]
    assert content(second) == content(first)
    assert served and runner.servers() == served
    _, up = runner.finish(runner.srlm("up"))
    tracking_uri = registry_of(up)
    with urllib.request.urlopen(f"{tracking_uri}/api/2.0/mlflow/registered-models/get?name=small-world") as answer:
        aliases = json.load(answer)["registered_model"]["aliases"]
    versions = {model["name"]: model["version"] for model in first["models"]}
    moved = {"champion": versions["m3"], "previous": versions["m2"], "candidate": versions["m3"]}
    assert {one["alias"]: one["version"] for one in aliases} == versions | moved


def test_two_models_are_compared_as_ci_does_it(undisturbed: tuple[Runner, str]) -> None:
    """0: no regression, M3 is better than M1. Again: the same verdict, nothing asked. 1: M1 is worse than M3, the
    champion."""
    runner, _ = undisturbed
    newest = ("--model", "models:/small-world@candidate", "--against", "@m1")
    evaluate = ("eval", *runner.annotator, "--output", "reports")
    code, output = runner.finish(runner.srlm(*evaluate, *newest))
    assert code == 0, output
    report = json.loads((runner.folder / "reports/report.json").read_text())
    assert report["decision"] == "promote"
    assert report["model"]["digest"] == runner.summaries()[0]["models"][4]["digest"]
    assert report["against"]["digest"] == runner.summaries()[0]["models"][2]["digest"]
    served = runner.servers()
    code, again = runner.finish(runner.srlm(*evaluate, *newest))
    assert code == 0, again
    assert json.loads((runner.folder / "reports/report.json").read_text()) == report
    assert runner.servers() == served
    oldest = ("--model", "models:/small-world@m1", "--set", "gate.regress={exact_answers: 0.02}")
    code, output = runner.finish(runner.srlm(*evaluate, *oldest))
    assert code == 1, output
    suite = ElementTree.parse(runner.folder / "reports/junit.xml").getroot()
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert "exact_answers" in failed, failed
    assert "| regression | exact_answers | fail |" in (runner.folder / "reports/report.md").read_text()


@pytest.mark.extended
@pytest.mark.nightly
def test_a_model_that_follows_instructions_needs_no_ift(
    undisturbed: tuple[Runner, str], stages: dict[str, str], small_world: SmallWorld, tmp_path: Path
) -> None:
    """data.ift 0: M1 = M0 + EFT, held against M0.

    M0 is the undisturbed run's M1, which answers and judges. EFT takes small steps: on EFT alone so small a model soon
    forgets how to answer.
    """
    runner = Runner(tmp_path, small_world)
    base = model_folder(stages["m1/sft"])
    options = ["name=no-ift", "rounds=1", f"model.base={base}", "data.ift=0", "sft.epochs=1", "dpo.max_steps=4"]
    options.append("sft.learning_rate=1.0e-6")
    try:
        code, output = runner.run(*(part for option in options for part in ("--set", option)))
        assert code == 0, output
        summary = json.loads(next(tmp_path.glob(".srlm/runs/no-ift-*/summary.json")).read_text())
        with store_of(runner):
            uris = {stage["name"]: stage["uri"] for stage in summary["stages"]}
            checks = read_records(uris["m1/gate"], "checks", Check)
    finally:
        runner.down()
    assert [model["name"] for model in summary["models"]] == ["m0", "m1", "m2"]
    made = {stage["name"]: stage["counts"]["kept"] for stage in summary["stages"]}
    assert made["seed-data"]["ift"] == 0 and "sft/sft" not in made
    assert set(made["m1/sft"]) == {"eft"}
    assert summary["models"][1]["metrics"]["parse_rate"] > 0.9
    assert any("must not be worse than M0" in check.reason for check in checks if check.rule == "baseline")


def test_a_model_is_trained_again_with_other_seeds(undisturbed: tuple[Runner, str]) -> None:
    """M2 once more, against the model that it was trained from, M1. What is shown first is what the run has measured;
    no version or alias of the registry changes; and who asks again has it at once, with all that was made."""
    runner, _ = undisturbed
    before = registered(runner)
    ask = ("eval", *runner.annotator, "--output", "noise", "--model", "models:/small-world@m2", "--noise", "1")
    code, output = runner.finish(runner.srlm(*ask))
    assert code == 0, output
    assert "2 trainings with seeds of their own made 2 different models" in output
    report = json.loads((runner.folder / "noise/report.json").read_text())
    m1, m2 = (model["digest"] for model in runner.summaries()[0]["models"][2:4])
    assert (report["model"]["digest"], report["against"]["digest"]) == (m2, m1)
    noise = {figure["id"]: figure for figure in report["noise"]}
    right, (_, first, second, _) = noise["exact_answers"], figures(runner, "exact_answers")
    assert (right["trainings"][0], right["change"]) == (pytest.approx(second), pytest.approx(second - first))
    assert right["deviation"] == pytest.approx(stdev(right["trainings"]))
    assert len(set(noise["held_out_margin"]["trainings"])) == 2  # on the same held-out pairs
    assert "## Training noise" in (runner.folder / "noise/report.md").read_text()
    assert registered(runner) == before
    served = runner.servers()
    assert runner.finish(runner.srlm(*ask))[0] == 0
    assert json.loads((runner.folder / "noise/report.json").read_text()) == report
    assert runner.servers() == served
    events = max(runner.folder.glob(".srlm/runs/evaluate-*/events.jsonl"), key=lambda path: path.stat().st_mtime)
    ended = [event for event in map(json.loads, events.read_text().splitlines()) if event["kind"] == "stage_end"]
    assert {"seed-1/dpo", "noise"} <= {event["stage"] for event in ended}
    assert all(event["reused"] for event in ended)


def registry_of(up: str) -> str:
    """MLflow's address in what `srlm up` prints, whose first line leads to the page of the models."""
    return up.splitlines()[0].split()[-1].removesuffix("/#/models")


def registered(runner: Runner) -> tuple[Any, Any]:
    """The registered model with its aliases, and all its versions with their tags."""
    _, up = runner.finish(runner.srlm("up"))
    api = registry_of(up) + "/api/2.0/mlflow"
    answers = []
    for question in ("registered-models/get?name=small-world", "model-versions/search?filter=name%3D%27small-world%27"):
        with urllib.request.urlopen(f"{api}/{question}") as answer:
            answers.append(json.load(answer))
    return answers[0], answers[1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--model", "models:/small-world@nobody"], "has no models:/small-world@nobody"),
        (["--model", "models:/small-world@m1", "--against", "a/b@c"], "a/b@c"),
        (["--model", "models:/small-world@m1", "--set", "gate.flors={}"], "did you mean floors"),
        (["--model", "models:/small-world@m1", "--noise", "2"], "was not made by DPO but by sft"),
        (["--model", "models:/small-world@sft", "--noise", "2"], "was not made by DPO but by sft"),
        (["--model", "models:/small-world@m0", "--noise", "2"], "was not made by DPO but by base_model"),
        (["--model", "models:/small-world@nobody", "--noise", "2"], "has no models:/small-world@nobody"),
        (["--model", "models:/small-world@m2", "--noise", "0"], "--noise"),
    ],
)
def test_a_broken_comparison_is_exit_code_2(undisturbed: tuple[Runner, str], options: list[str], problem: str) -> None:
    runner, _ = undisturbed
    code, output = runner.here("eval", *options, "--output", "broken")
    assert code == 2, output
    assert problem in output
    assert "Traceback" not in output
    assert not (runner.folder / "broken").exists()


@pytest.mark.extended
def test_killed_runs_end_as_an_undisturbed_one(
    undisturbed: tuple[Runner, str], stages: dict[str, str], tmp_path: Path, small_world: SmallWorld
) -> None:
    """kill -9 in the middle of sampling, judging and DPO, one after the other: same pairs, models and figures.

    The other stages are taken over from the undisturbed run. They are found by the digests of what was killed: had it
    come to something else, they would be made again, and be something else.
    """
    killed = {"m1/sampling": "candidates", "m1/judging": "judgements", "m2/dpo": "DPO"}
    runner = Runner(tmp_path, small_world)
    others = [uri for name, uri in stages.items() if name not in (*killed, "m1/pairs")]
    copy_stages(others, tmp_path / "others", runner)
    for stage, label in killed.items():
        kill_during(runner, stage, label)
    code, output = runner.run()
    assert code == 0, output
    try:
        ended = runner.summaries()[-1]
        assert content(ended) == content(undisturbed[0].summaries()[0])
        assert [stage["name"] for stage in ended["stages"] if not stage["reused"]] == ["m2/dpo"]
    finally:
        runner.down()


def copy_stages(uris: list[str], folder: Path, runner: Runner) -> None:
    """Put stages of the store that this process reads into that of a runner that has made nothing yet."""
    for uri in uris:
        for name in open_store(uri).names():
            path = folder / uri.removeprefix(STORE).strip("/") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            open_store(uri).download(name, path)
    with store_of(runner):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            open_store(STORE).upload(path, str(path.relative_to(folder)))


def kill_during(runner: Runner, stage: str, label: str) -> None:
    """Start a run and kill -9 its main process once `stage` has made some progress; all its processes end with it."""
    process = runner.start()
    deadline = time.monotonic() + TIMEOUT_S
    while not in_the_middle(runner, stage, label):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    pids = [pid for pid in helpers_of(process.pid) if alive(pid)]
    while pids and time.monotonic() < deadline:
        pids = [pid for pid in pids if alive(pid)]
        time.sleep(0.1)
    assert not pids


def in_the_middle(runner: Runner, stage: str, label: str) -> bool:
    """Whether the latest run is inside `stage` and has made part of its work."""
    folders = sorted(runner.folder.glob(".srlm/runs/*"))
    path = folders[-1] / "events.jsonl" if folders else None
    if path is None or not path.exists():
        return False
    events = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    started = [event["stage"] for event in events if event["kind"] == "stage_start"]
    told = [event for event in events if event["kind"] == "progress" and event["label"].startswith(label)]
    partial = [event for event in told if 0 < event["done"] < event["total"]]
    return bool(started) and started[-1] == stage and bool(partial)


def helpers_of(owner: int) -> list[int]:
    """Processes that were told to end with `owner`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"SRLM_OWNER_PID={owner}".encode() in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--set", "sampling.temprature=1"], "did you mean temperature"),
        (["--set", "data.messages=/nowhere.jsonl"], "nowhere.jsonl"),
        (["--engine", "endpoint", "--endpoint", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["--tracking-uri", "http://127.0.0.1:9"], "MLflow server http://127.0.0.1:9"),
        (["--store", "s3://nobody-has-this/x"], "s3://nobody-has-this/x"),
        (["--engine", "tgi-on-the-moon"], "there is no engine"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    undisturbed: tuple[Runner, str], options: list[str], problem: str
) -> None:
    """The problem and the remedy, no traceback; --debug shows it."""
    runner, _ = undisturbed
    before = len(runner.summaries())
    code, output = runner.here("run", str(runner.world.recipe), *runner.annotator, *options)
    assert code == 2, output
    assert problem in output
    assert "error:" in output
    assert "Traceback" not in output
    assert len(runner.summaries()) == before


def test_a_user_who_interrupts_is_told_that_work_is_kept(tmp_path: Path, small_world: SmallWorld) -> None:
    runner = Runner(tmp_path, small_world)
    process = runner.start()
    deadline = time.monotonic() + TIMEOUT_S
    while "step_start" not in runner.events() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "stopped; finished work is kept, and this goes on: srlm run " in output
    assert f"--run {next(runner.folder.glob('.srlm/runs/*')).name}" in output
    assert "Traceback" not in output


def test_a_run_in_parts_is_one_run(
    undisturbed: tuple[Runner, str], small_world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds, one in each part: the second part finds M2 where the first has left it, and starts no SFT."""
    runner, _ = undisturbed
    monkeypatch.setattr(self_rewarding, "ROUNDS", 1)
    with store_of(runner):
        recipe, console = load_recipe(str(small_world.recipe)), Console(record=True, width=200)
        summary = run_recipe(recipe, RunOptions(annotator_endpoint=small_world.annotator), console, run="in-parts")
    assert content(summary) == content(runner.summaries()[0])
    assert all(stage["reused"] for stage in summary["stages"])
    steps = [line.partition("] ")[2].strip() for line in console.export_text().splitlines() if line.startswith("[")]
    places = [steps.index(step) for step in ("start part 2", "find M2", "pair M2's answers")]
    assert places == sorted(places), steps
    assert sum("train M1" in step for step in steps) == 1


def test_people_label_what_a_model_learnt_from_and_read_it_in_the_report(
    undisturbed: tuple[Runner, str], tmp_path: Path
) -> None:
    """The last test here, as it adds figures to the run. The person knows the truth, as M2 does by now more than half
    of the time; what they say stands in the summary, in MLflow at M3's version, and in the report, which a browser
    opens without a complaint and whose figures are the summary's."""
    runner, _ = undisturbed
    name = runner.summaries()[0]["run"]
    code, output = runner.finish(runner.srlm("review", name, "--sample", "60", "-o", str(tmp_path / "page.html")))
    assert code == 0 and "items about M3" in output, output
    page = (tmp_path / "page.html").read_text()
    with store_of(runner):
        items = [item for item in find_items(STORE, name, "m3") if f"item-{item.id}" in page]
    labels = [{"item": item.id, "label": _truth(item)} for item in items]
    saved = {"format": "srlm-labels-1", "run": name, "model": "m3", "labeller": "truth", "labels": labels}
    (tmp_path / "labels.json").write_text(json.dumps(saved))
    code, output = runner.finish(runner.srlm("review", name, "--import", str(tmp_path / "labels.json")))
    assert code == 0 and "M3: human_agreement " in output, output
    code, shown = runner.finish(runner.srlm("show", name))
    assert code == 0 and "agreement with people" in shown
    summary = json.loads((runner.folder / ".srlm/runs" / name / "summary.json").read_text())
    figures = next(model["metrics"] for model in summary["models"] if model["name"] == "m3")
    with store_of(runner), services() as local:
        from mlflow import MlflowClient

        client = MlflowClient(local.tracking_uri)
        version = client.get_model_version_by_alias("small-world", "m3")
        logged = client.get_run(version.tags[MLFLOW_RUN]).data.metrics
    assert logged["human_agreement/value"] == pytest.approx(figures["human_agreement"])
    if chromium():
        shares = [figures[name] for name in ("win_rate", "pairwise_accuracy", "human_agreement")]
        report = runner.folder / ".srlm/runs" / name / "report.html"
        assert_it_reads_well(report, shares, tmp_path, ["People and the judge"])


def _truth(item: Item) -> str | int:
    """What someone says who can compute the right answer: the better by its true score, or that score."""
    scores = [true_score(item.prompt, answer) for answer in item.answers]
    if item.kind == "score":
        return round(scores[0])
    return "tie" if scores[0] == scores[1] else ("first", "second")[scores[1] > scores[0]]
