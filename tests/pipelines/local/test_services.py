"""The local store and registry: started, shared, adopted after a crash, stopped; their data stay."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from components.core.errors import UserError
from components.core.processes import alive, free_ports
from components.core.store import _s3, open_store
from components.registry.client import registry
from components.serving.address import Address
from components.serving.client import Client, Request, RetryPolicy, Sampling
from pipelines.cli.main import app
from pipelines.local import services as module
from pipelines.local.services import Services, services, stop_services
from tests.helpers.paths import ROOT
from tests.helpers.scripted_endpoint import says, served

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))
    return tmp_path


def pids(local: Services) -> list[int]:
    return [pid for pid in (local.store_pid, local.mlflow_pid) if pid]


def experiments(local: Services) -> list[str]:
    url = f"{local.tracking_uri}/api/2.0/mlflow/experiments/search?max_results=10"
    with urllib.request.urlopen(url) as answer:
        return [one["name"] for one in json.load(answer)["experiments"]]


def make_experiment(local: Services, name: str) -> None:
    body = json.dumps({"name": name}).encode()
    request = urllib.request.Request(
        f"{local.tracking_uri}/api/2.0/mlflow/experiments/create", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request).close()


def test_they_run_inside_the_block_and_keep_their_data() -> None:
    """The store's key is the owner's alone."""
    with services() as local:
        assert (module._folder() / "credentials.json").stat().st_mode & 0o777 == 0o600
        make_experiment(local, "kept")
        running = pids(local)
        assert len(running) == 2 and all(map(alive, running))
    assert not any(map(alive, running))
    with services() as local:
        assert "kept" in experiments(local)


def test_the_last_user_stops_them(home: Path) -> None:
    """Another process uses them, this one comes and goes: they stay until the other is done. (The store alone, which
    starts in a fifth of the time.)"""
    code = "import sys; from pipelines.local.services import services\n"
    code += "with services(registry=False): print('up', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "up\n"
    with services(registry=False) as local:
        running = pids(local)
    assert running and all(map(alive, running))
    other.communicate("")
    assert not any(map(alive, running))


def test_who_asks_for_the_store_alone_gets_it_and_the_registry_later() -> None:
    """Without its server the registry's file is read, and what the server wrote is there."""
    with services() as local:
        make_experiment(local, "kept")
    with services(registry=False) as alone:
        assert alive(alone.store_pid) and not alone.mlflow_pid
        with registry(module.registry_file()) as client:
            assert "kept" in [one.name for one in client.search_experiments()]
        with services() as both:
            assert both.store_pid == alone.store_pid and "kept" in experiments(both)
        assert all(map(alive, pids(both)))  # who had the store has it still
    assert not any(map(alive, pids(both)))


def test_a_killed_run_leaves_them_to_the_next() -> None:
    code = "import os, signal; from pipelines.local.services import services\n"
    code += "with services(registry=False): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    left = Services(**json.loads((module._folder() / "state.json").read_text()))
    assert pids(left) and all(map(alive, pids(left)))
    with services(registry=False) as local:
        assert pids(local) == pids(left)
    assert not any(map(alive, pids(left)))


def test_up_keeps_them_and_down_stops_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's page is at its usual port where that is free; what `srlm env` prints is enough for clients not ours."""
    port = free_ports(1)[0]
    monkeypatch.setattr(module, "PAGE_PORT", port)
    assert CliRunner().invoke(app, ["env"]).exception.remedy == "srlm up starts them."
    with services(keep=True) as local:
        running = pids(local)
    assert local.mlflow_port == port
    with module._page_port() as other:
        assert other == 0
    lines = CliRunner().invoke(app, ["env"]).output.splitlines()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert variables["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{port}"
    key = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    client = boto3.client(
        "s3",
        endpoint_url=variables["MLFLOW_S3_ENDPOINT_URL"],
        region_name=variables["AWS_DEFAULT_REGION"],
        **{argument: variables[name] for argument, name in key.items()},
    )
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == [module.BUCKET]
    assert all(map(alive, running))
    with services() as local:
        assert pids(local) == running
    assert all(map(alive, running))
    assert stop_services()
    assert not any(map(alive, running))
    assert not stop_services()


def test_a_start_that_is_killed_between_its_servers_leaves_nothing_that_stays() -> None:
    """The state names neither server then. The next start finds the one that is there, as `srlm down` does."""
    code = "import os, signal; from pipelines.local import services as local\nlaunch = local._launch\n"
    code += (
        "local._launch = lambda name, prepare: launch(name, prepare) if name == 'store' else os.kill(os.getpid(), 9)\n"
    )
    code += "with local.services(): pass"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
        left = module._left_running()
        assert len(left) == 1
    assert stop_services()
    assert not any(map(alive, left))
    assert len(list(module.store_folder().glob("m[0-9]*"))) == 1  # each start left a folder
    assert b"\0" not in (module._folder() / "store.log").read_bytes()


def test_files_that_a_full_disk_has_cut_are_made_anew() -> None:
    for name in ("state.json", "credentials.json"):
        module._folder().mkdir(parents=True, exist_ok=True)
        for half in ("", '{"AWS_ACC', "[]"):
            (module._folder() / name).write_text(half)
            with module._state() as state:
                assert state == Services()
            assert len(module._credentials()) == 2


def test_servers_that_a_run_uses_are_stopped_by_force_alone() -> None:
    with module._state() as state:
        state.users = [os.getpid()]
    with pytest.raises(UserError, match=f"runs use the local store and registry .processes {os.getpid()}.*--force"):
        stop_services()
    assert not stop_services(force=True)


def test_a_taken_port_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first choice of every port is one that somebody else listens on: the next try takes free ones."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        choices = iter([[taken.getsockname()[1]]])
        real = free_ports
        monkeypatch.setattr(
            module,
            "free_ports",
            lambda count, offset=0: (next(choices, None) if count == 1 and not offset else None) or real(count, offset),
        )
        with services() as local:
            assert local.mlflow_port != taken.getsockname()[1]
            assert experiments(local)


def test_a_registry_that_another_mlflow_has_written_is_told_with_the_command() -> None:
    """Whether its server is to start, or its file is read without one. The database is this version's own, but for the
    revision that it says: MLflow looks no further."""
    path = Path(module.registry_file().removeprefix("sqlite:///"))
    made = f"import mlflow; mlflow.MlflowClient({module.registry_file()!r}).create_registered_model('demo')"
    subprocess.run([sys.executable, "-c", made], check=True)  # who has opened the file does not look again
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '75868b020152'")
    told = f"written by another version of MLflow .* 75868b020152.*mlflow db upgrade sqlite:///{path}"
    with pytest.raises(UserError, match=told), services():
        pass
    with pytest.raises(UserError, match=told), registry(module.registry_file()) as client:
        client.search_registered_models()


def test_a_server_that_cannot_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_program", lambda name: "/bin/false")
    with pytest.raises(UserError, match="store server does not start"), services():
        pass


def test_free_ports_are_different_and_keep_their_offset() -> None:
    ports = free_ports(20, 10000)
    assert len(set(ports)) == 20
    assert max(ports) <= 55535


def test_a_process_that_is_gone_is_not_alive() -> None:
    child = subprocess.Popen(["/bin/true"])
    deadline = time.monotonic() + 30
    while alive(child.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(child.pid)
    assert alive(os.getpid())


def test_a_proxy_that_leads_nowhere_is_not_asked_for_what_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store and registry start, and all three clients reach their server: the store's, MLflow's, and the models'.

    MLflow's own server reaches the store, too: its page shows the artifact.
    """
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "elsewhere.test")
    monkeypatch.delenv("no_proxy", raising=False)
    with services() as local, served(says(lambda prompt: f"{prompt}!")) as url:
        for name, value in local.environment().items():
            monkeypatch.setenv(name, value)
        _s3.cache_clear()
        try:
            store = open_store(f"s3://{module.BUCKET}/here")
            assert store.create("one", b"1") and store.read("one") == b"1"
            with registry(local.tracking_uri) as client:
                run = client.create_run(client.create_experiment("here"))
                client.log_text(run.info.run_id, "text", "a.txt")
                assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["a.txt"]
                shown = f"{local.tracking_uri}/get-artifact?path=a.txt&run_uuid={run.info.run_id}"
                assert urllib.request.build_opener(urllib.request.ProxyHandler({})).open(shown).read() == b"text"
        finally:
            _s3.cache_clear()
        assert asyncio.run(asked(url)) == "hello!"
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "elsewhere.test,localhost,127.0.0.1,::1"


async def asked(url: str) -> str:
    """What a server of the run itself answers."""
    client = Client(Address(url), RetryPolicy(patience=5))
    messages = [{"role": "user", "content": "hello"}]
    try:
        return (await client.complete(Request("id", messages, Sampling(0.7, 0.9, 16), seed=7))).text
    finally:
        await client.close()
