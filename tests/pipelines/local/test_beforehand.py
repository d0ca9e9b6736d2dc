"""What is wrong is told before a server is started: none of these may start one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.core.errors import UserError
from pipelines.cli.main import app
from pipelines.local import beforehand, services

M1 = "models:/demo@m1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose registry holds the model `demo`, and on which nothing may be started."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for variable in ("SRLM_STORE", "SRLM_TRACKING_URI", "SRLM_JUDGE_ENDPOINT", "SRLM_ANNOTATOR_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as registry:
        registry.execute("CREATE TABLE registered_models (name TEXT)")
        registry.execute("INSERT INTO registered_models VALUES ('demo')")
        registry.commit()

    def refuse(*_: object) -> None:
        raise AssertionError("a server is started")

    monkeypatch.setattr(services, "_start", refuse)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["run", "demmo"], "did you mean demo?"),
        (["run", "demo", "--set", "sampling.candidats=3"], "did you mean candidates?"),
        (["run", "demo", "--store", "s3://"], "'s3://' names no bucket"),
        (["run", "demo", "--engine", "nosuch"], "there is no engine 'nosuch'"),
        (["run", "demo", "--engine", "vllm"], "only pods of the cluster can ask"),
        (["run", "demo", "--engine", "endpoint"], "engine endpoint needs a URL"),
        (["run", "demo", "--engine", "endpoint", "--endpoint", "http://127.0.0.1:9"], "does not answer"),
        (["run", "demo", "--annotator-endpoint", "http://127.0.0.1:9"], "does not answer"),
        (["promote", "m1"], "'m1' names no version of a registered model"),
        (["promote", "models:/demo"], "names no version"),
        (["promote", "models:/demmo@m1"], "no models named demmo (did you mean demo?)"),
        (["rollback", "demmo"], "did you mean demo?"),
        (["models", "nosuch"], "no models named nosuch"),
        (["lineage", "@m1"], "of which registered model?"),
        (["export", "models:/nosuch/1", "folder"], "no models named nosuch"),
        (["chat", "nosuch"], "names no version of a registered model"),
        (["chat", M1, "--set", "sampling.temprature=0"], "did you mean temperature?"),
        (["eval", "--model", "nosuch"], "names no version of a registered model"),
        (["eval", "--model", M1, "--against", "nosuch"], "names no version of a registered model"),
        (["eval", "--model", M1, "--set", "sampling.candidats=3"], "sampling.candidats: unknown key"),
        (["eval", "--model", M1, "--recipe", "dem"], "did you mean demo?"),
        (["eval", "--model", M1, "--run", "My Run"], "cannot be named"),
        (["eval", "--model", M1, "--store", "s3://"], "names no bucket"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(command: list[str], problem: str) -> None:
    told = CliRunner().invoke(app, command)
    assert isinstance(told.exception, UserError), told.output
    assert problem in str(told.exception)


def test_a_registry_that_is_not_there_holds_nothing(home: Path) -> None:
    (home / "mlflow.db").unlink()
    told = CliRunner().invoke(app, ["promote", M1])
    assert "holds no models yet" in str(told.exception)


def test_what_is_not_known_here_is_for_the_server_to_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of a form that cannot be read, and one that is named: the server is asked."""

    class AskedError(Exception):
        pass

    @contextmanager
    def ask(*_: object, **__: object) -> Iterator[None]:
        raise AskedError
        yield

    monkeypatch.setattr("pipelines.cli.models.servers", ask)
    elsewhere = CliRunner().invoke(app, ["promote", "models:/nosuch@m1", "--tracking-uri", "http://127.0.0.1:9"])
    assert isinstance(elsewhere.exception, AskedError)
    (home / "mlflow.db").write_text("damaged")
    assert isinstance(CliRunner().invoke(app, ["promote", M1]).exception, AskedError)


@pytest.mark.parametrize("command", ["show", "report", "review", "compare"])
@pytest.mark.parametrize("store", [False, True])
def test_a_run_that_never_was_here_starts_no_store(command: str, store: bool, home: Path) -> None:
    """Whatever ran here has a folder; the store that does not run is not started to say the same."""
    (home / "runs" / "demo-20261126-035728-3904").mkdir(parents=True)
    if store:
        (home / "store").mkdir()
    more = ["demo-20261126-035728-3904"] if command == "compare" and store else ["other"] * (command == "compare")
    told = CliRunner().invoke(app, [command, "demo-20261126-035728-3940", *more])
    assert isinstance(told.exception, UserError), told.output
    assert "this machine has no run 'demo-20261126-035728-3940' (did you mean demo-20261126-035728-3904?)" in str(
        told.exception
    )
    assert ("srlm up" in told.exception.remedy) == store


def test_a_store_that_runs_is_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have runs whose folders were removed."""
    (home / "store").mkdir()
    monkeypatch.setattr(beforehand, "store_runs", lambda: True)
    beforehand.require_run("gone")


def test_a_machine_without_a_registry_is_not_given_one_by_who_looks(home: Path) -> None:
    (home / "mlflow.db").unlink()
    told = CliRunner().invoke(app, ["models"])
    assert isinstance(told.exception, UserError) and "holds no models yet" in str(told.exception)
    assert json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout) == {"models": []}
    assert not (home / "mlflow.db").exists()
