"""What scripts rely on: one JSON document on stdout, exit codes, the command that goes on, the shell's completion."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from components.core.context import RunContext
from components.core.course import recorded
from components.core.errors import UserError
from components.core.progress import Progress, emit
from components.core.step import step
from pipelines.cli import main
from pipelines.cli.main import app
from pipelines.local.doctor import broken, ok
from pipelines.recipe import load_recipe
from tests.helpers.finished_run import make_finished_run
from tests.helpers.paths import ROOT
from tests.helpers.waiting import wait_until

RUN = "toy-20260101-000000-abcd"
PAGE = (ROOT / "docs/commands.md").read_text()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a cluster."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    return tmp_path


def document(*command: str, code: int = 0) -> Any:
    """What a command prints with --json; nothing else may be on stdout."""
    told = CliRunner().invoke(app, [*command, "--json"])
    assert told.exit_code == code, told.output
    return json.loads(told.stdout)


def local_run(home: Path, *events: dict[str, Any]) -> None:
    folder = home / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "pipeline.yaml").write_text((ROOT / "pipelines/compiled/demo.yaml").read_text())
    (folder / "events.jsonl").write_text("".join(json.dumps({"time": 100.0, **event}) + "\n" for event in events))


def recorded_run(store: Path, fails: bool = False) -> None:
    """A run of the demo whose records lie in the store: its first step is done, M0 is measured or could not be."""
    RunContext(str(store), RUN, load_recipe("demo").to_dict(), "http://registry", "endpoint", *[""] * 6).write()
    for name in ("open the run, import data", "measure M0"):
        try:
            with recorded(str(store), RUN, name), step(name), Progress("judgements", 4) as progress:
                progress.advance(4)
                emit("stage_start", stage="m0/evaluation")
                emit("stage_end", stage="m0/evaluation", reused=False, kept={"judgements": 3}, dropped={"unparsed": 1})
                if fails and name == "measure M0":
                    raise UserError("the judge does not answer", "Start it.")
        except SystemExit:
            pass


def test_status_lists_runs(home: Path) -> None:
    local_run(home, {"kind": "step_start", "step": "judge M1"})
    told = document("status")
    assert [(run["kind"], run["name"], run["state"]) for run in told["runs"]] == [("local", RUN, "stopped")]
    assert any(error.startswith("job: ") for error in told["not_asked"])


def test_status_of_a_run_tells_its_steps_and_those_to_come(home: Path) -> None:
    local_run(home, {"kind": "step_start", "step": "judge M1"}, {"kind": "warn", "text": "odd"})
    (run,) = document("status", RUN)["runs"]
    assert [(one["name"], one["state"], one["warnings"]) for one in run["steps"]] == [("judge M1", "stopped", ["odd"])]
    assert "measure M1" in run["to_come"] and "judge M1" not in run["to_come"]


def test_a_store_alone_tells_how_far_a_run_is(tmp_path: Path) -> None:
    recorded_run(tmp_path / "store")
    (run,) = document("status", RUN, "--store", str(tmp_path / "store"))["runs"]
    assert (run["state"], [one["state"] for one in run["steps"]]) == ("running", ["done", "done"])
    assert run["steps"][1]["made"][0]["dropped"] == {"unparsed": 1}
    assert run["to_come"][:2] == ["import models", "register M0"]


def test_who_watches_a_run_that_failed_gets_its_reason_and_1(tmp_path: Path) -> None:
    recorded_run(tmp_path / "store", fails=True)
    with recorded(str(tmp_path / "store"), RUN, "report"), step("report"):
        pass
    told = CliRunner().invoke(app, ["watch", RUN, "--store", str(tmp_path / "store")])
    assert told.exit_code == 1
    assert "measure M0: the judge does not answer. Start it." in told.stdout
    assert told.stdout.splitlines()[-1] == f"{RUN}: failed"


def test_who_watches_a_run_that_is_stopped_here_gets_1_and_of_none_2(home: Path) -> None:
    local_run(home, {"kind": "step_start", "step": "judge M1"})
    assert CliRunner().invoke(app, ["watch", RUN]).exit_code == 1
    assert isinstance(CliRunner().invoke(app, ["watch", "nosuch"]).exception, UserError)
    nowhere = CliRunner().invoke(app, ["watch", RUN, "--store", str(home / "store")])
    assert isinstance(nowhere.exception, UserError)


def test_ctrl_c_leaves_a_watched_run_alone(tmp_path: Path) -> None:
    """And says so; the run's live step is seen before, within 5 s."""
    store = tmp_path / "store"
    recorded_run(store)
    command = [sys.executable, "-u", "-m", "pipelines.cli.main", "watch", RUN, "--store", str(store)]
    with recorded(str(store), RUN, "train SFT"), step("train SFT"):
        watching = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        shown: list[str] = []
        wait_until(lambda: shown.append(watching.stdout.readline()) or "train SFT" in shown[-1])  # type: ignore[union-attr, func-returns-value]
        watching.send_signal(signal.SIGINT)
        rest, _ = watching.communicate(timeout=120)
    assert watching.returncode == 130
    assert f"{RUN} goes on: srlm watch {RUN} shows it again, srlm cancel {RUN} ends it" in rest


def test_a_summary_is_shown_as_it_is(home: Path) -> None:
    local_run(home)
    (home / "runs" / RUN / "summary.json").write_text('{"run": "toy", "models": []}')
    assert document("show", RUN) == {"run": "toy", "models": []}


def test_doctor_ends_with_1_where_something_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [("machine", ok("fine")), ("store", broken("it is away", "Start it."))]
    monkeypatch.setattr("pipelines.cluster.doctor.Doctor.examine", lambda *_: iter(findings))
    assert document("doctor", code=1) == {
        "checks": [
            {"name": "machine", "state": "ok", "text": "fine", "remedy": ""},
            {"name": "store", "state": "broken", "text": "it is away", "remedy": "Start it."},
        ]
    }
    monkeypatch.setattr("pipelines.cluster.doctor.Doctor.examine", lambda *_: iter(findings[:1]))
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0


def test_data_tells_what_is_kept_and_dropped() -> None:
    told = document("data")
    assert told["kept"]["ift"] > 0 and all(isinstance(count, int) for count in told["dropped"].values())


def test_report_tells_its_file(home: Path) -> None:
    context = make_finished_run(home / "elsewhere")
    told = document("report", context.run, "--store", context.store)
    assert told == {"run": context.run, "report": str(home / "runs" / context.run / "report.html")}
    assert Path(told["report"]).read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_mistake_ends_with_2_whatever_is_shown_of_it(
    debug: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 of `srlm eval` is a regression, so no traceback may end with it."""
    monkeypatch.setattr(sys, "argv", ["srlm", "eval", "--model", "nosuch", *debug])
    with pytest.raises(SystemExit) as ended:
        main.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "error: 'nosuch' names no version" in told
    assert ("Traceback" in told) == bool(debug)


def test_ctrl_c_tells_the_command_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.local.run.run_recipe", interrupt)
    monkeypatch.setattr(sys, "argv", ["srlm", "run", "demo", "--set", "judging.prompt={file: a b.txt}"])
    monkeypatch.setattr("pipelines.recipe.load_recipe", lambda *_: load_recipe("demo"))
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130
    told = " ".join(capsys.readouterr().out.split())
    assert re.search(r"goes on: srlm run demo --set 'judging.prompt=\{file: a b.txt\}' --run demo-\d+-\d+-\w{4}$", told)


def complete(words: str) -> list[str]:
    """What bash would offer for the last of these words."""
    environment = {"_SRLM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    return CliRunner().invoke(app, [], prog_name="srlm", env=environment).stdout.split()


def test_the_shell_completes_recipes_and_runs(home: Path) -> None:
    local_run(home)
    assert complete("srlm run llama2") == ["llama2-70b-lora", "llama2-70b-paper"]
    assert complete("srlm watch to") == complete("srlm status toy") == [RUN]
    assert complete("srlm watc") == ["watch"]


def test_completion_loads_no_heavy_library() -> None:
    """Each Tab starts the program."""
    heavy = {"mlflow", "kfp", "torch", "boto3", "kubernetes", "sklearn"}
    loaded = f"import sys, pipelines.cli.main; print(*({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


def test_every_command_for_scripts_is_on_the_page() -> None:
    found: Any = typer.main.get_command(app)
    scripted = [name for name, one in found.commands.items() if any("--json" in each.opts for each in one.params)]
    assert {"status", "models", "promote", "rollback", "lineage", "data", "doctor", "show", "gc"} <= set(scripted)
    assert [name for name in scripted if f"`{name}" not in PAGE] == []
    assert [name for name, one in found.commands.items() if not one.hidden and f"`{name}" not in PAGE] == []

    for code in ("0", "1", "2", "130", "143"):
        assert f"| {code} |" in PAGE
