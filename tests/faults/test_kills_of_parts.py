"""SIGKILL of the parts that a run stands on: its training, a rank of two, its engine, store and registry, all of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from components.core import store as store_module
from components.core.processes import alive, end, processes
from components.core.stage import find_manifest
from components.training.launch.request import TrainingRequest
from pipelines.local import services as local
from tests.components.training.test_several_processes import Toy, made_by_two
from tests.components.training.test_several_processes import started as two_ranks
from tests.faults.loop import Place, kill, started
from tests.faults.test_kills import Note, ended
from tests.faults.world import begin, leftovers, longest_silence, place, result
from tests.helpers.gateway import ANNOTATOR, JUDGE
from tests.helpers.paths import ROOT
from tests.helpers.tiny_loop import RUN, SETTINGS
from tests.helpers.tiny_model import make_tiny_model

pytestmark = [pytest.mark.faults, pytest.mark.slow]
EPOCHS = {"epochs": 6, "dropout": 0.1, "checkpoint_every": 1}


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Toy, Toy]:
    """Two stores that hold the same."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Toy(tmp_path / "a"), Toy(tmp_path / "b")


def train(request: str) -> None:
    TrainingRequest.model_validate_json(request).make()


def test_a_training(toys: tuple[Toy, Toy], tmp_path: Path, note: Note) -> None:
    """SFT and DPO with a checkpoint at each step: same weights to the bit."""
    draws, kills, lost = random.Random(1), 0, 0
    environment = {"SRLM_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    for kind in ("sft", "dpo"):
        whole, killed = (getattr(toy, kind)(**EPOCHS) for toy in toys)
        undisturbed = started(train, tmp_path / "log.txt", environment, whole.model_dump_json())
        began = time.monotonic()
        undisturbed.join()
        took = time.monotonic() - began  # machines differ by a factor of three
        expected = find_manifest(whole.stage().uri).digest  # type: ignore[union-attr]
        for tries in range(100):
            process = started(train, tmp_path / "log.txt", environment, killed.model_dump_json())
            process.join(draws.uniform(0.1, took * (0.5 + tries / 8)))
            if not kill(process):
                break
            kills += 1
        assert process.exitcode == 0, (tmp_path / "log.txt").read_text()[-2000:]
        made = find_manifest(killed.stage().uri)
        lost += made is None or made.digest != expected
    note("SIGKILL of a training", survived=kills * (not lost), lost=kills * bool(lost))
    assert kills > 5 and not lost


def test_a_rank_of_two(toys: tuple[Toy, Toy], note: Note) -> None:
    """The other ends with it, and the step; run again, both go on from the checkpoint that both have."""
    draws, kills = random.Random(2), 0
    whole, killed = (toy.sft(**EPOCHS, sharding="fsdp") for toy in toys)
    began = time.monotonic()
    two_ranks(whole).wait(300)
    took = time.monotonic() - began  # machines differ by a factor of three
    expected = find_manifest(whole.stage().uri).digest  # type: ignore[union-attr]
    for _ in range(3):
        step = two_ranks(killed)
        deadline = time.monotonic() + took * draws.uniform(0.3, 0.9)
        while time.monotonic() < deadline and step.poll() is None:
            time.sleep(0.05)
        ranks = [pid for pid, _, words in processes() if killed.on(2).model_dump_json() in words and _is_rank(words)]
        if ranks:
            os.kill(draws.choice(ranks), signal.SIGKILL)
            kills += 1
        step.wait(120)
        assert not [pid for pid in ranks if alive(pid)]
    lost = made_by_two(killed).digest != expected
    note("SIGKILL of a rank of two", survived=kills * (not lost), lost=kills * lost)
    assert kills and not lost


def _is_rank(words: list[str]) -> bool:
    return "components.training.launch.worker" in words and "--nproc-per-node=2" not in words


def test_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: Note) -> None:
    """Our own server, while it is asked: the step says that it does not answer, and the next one serves anew and asks
    for what is missing alone; the answers are those of an undisturbed one."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    model = Toy(tmp_path).model
    draws, kills, refused, answers = random.Random(3), 0, 0, []
    environment = {"SRLM_HOME": str(tmp_path / "home"), "SRLM_OWNER_PID": str(os.getpid())}
    for name, disturbed in (("calm", False), ("killed", True)):
        for _ in range(12):
            log = tmp_path / f"{name}.txt"
            process = started(_sample, log, environment, str(tmp_path / name), model, name)
            if disturbed and kills < 4:
                process.join(draws.uniform(4.0, 12.0))
                for pid in (servers := servers_of(model)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                kills += bool(servers)
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == 2 or "did not answer" in log.read_text(), log.read_text()[-2000:]
            refused += 1
        answers.append((tmp_path / name / "answers").read_text())
    for pid in servers_of(model):
        end(pid)
    lost = answers[0] != answers[1]
    note("SIGKILL of the engine", survived=max(0, kills - refused) * (not lost), refused=refused, lost=int(lost))
    assert kills and not lost


def servers_of(model: str) -> list[int]:
    return [pid for pid, _, words in processes() if "components.serving.embedded" in words and model in words]


def _sample(root: str, model: str, name: str) -> None:
    from components.core.records import Candidate, Parent
    from components.core.stage import Stage
    from components.core.step import step
    from components.sampling.settings import SamplingSettings
    from components.serving import completions
    from components.serving.client import Request, Sampling
    from components.serving.engines.processes import EmbeddedEngine
    from components.serving.patience import RetryPolicy
    from components.serving.settings import ServingSettings
    from tests.faults.test_bad_engines import candidate

    completions.RetryPolicy = partial(RetryPolicy, attempts=3, longest_wait=1.0)  # type: ignore[misc]
    completions.SAVE_INTERVAL_S = 0.2
    stage = Stage(root, "sampling", SamplingSettings(), {"model": Parent(uri="x", digest="d")})
    requests = [Request(f"{n}", [{"role": "user", "content": f"{n}"}], Sampling(1.0, 1.0, 16), n) for n in range(60)]
    with step("sample"):
        served = partial(EmbeddedEngine().start, "faults", name, model, ServingSettings())
        made = completions.complete(stage, served, completions.Batch("candidates", Candidate, requests, candidate, 8))
    Path(root, "answers").write_text("\n".join(one.model_dump_json() for one in made))


class Server:
    """One that is killed and started again on its port, with its data, as Kubernetes does."""

    def __init__(self, how: local.Server, log: Path) -> None:
        self.how, self.log, self.kills = how, log, 0
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.how.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=os.environ | self.how.environment, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while not local._answers(f"http://127.0.0.1:{self.how.port}{self.how.health}"):
            assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()[-2000:]
            time.sleep(0.1)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.kills += 1
        self.start()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server, dict[str, str]]]:
    """SeaweedFS, MLflow, and what a client of the store needs."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "servers"))
    local._folder().mkdir(parents=True)
    how = local._store_server()
    store = Server(how, tmp_path / "store.log")
    environment = local.Services(store_port=how.port).environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store_module._s3.cache_clear()
    mlflow = Server(local._mlflow_server(environment), tmp_path / "mlflow.log")
    yield store, mlflow, environment
    for server in (mlflow, store):
        end(server.process.pid, group=True)
    store_module._s3.cache_clear()


def test_store_and_registry(tmp_path: Path, servers: tuple[Server, Server, dict[str, str]], note: Note) -> None:
    """Now the one and now the other, and at once there again, until each has been killed four times; then in peace."""
    store, mlflow, environment = servers
    uri, model = f"http://127.0.0.1:{mlflow.how.port}", make_tiny_model(tmp_path / "model")
    results: list[dict[str, Any]] = []
    refused, silence, over, there = 0, 0.0, threading.Event(), threading.Lock()

    def disturb() -> None:
        draws = random.Random(4)
        while min(store.kills, mlflow.kills) < 4 and not over.wait(draws.uniform(0.2, 2.5)):
            with there:
                draws.choice((store, mlflow)).kill()

    for name in ("calm", "killed"):
        with place(tmp_path / name, model, uri, f"s3://{local.BUCKET}/{name}", environment) as where:
            if name == "killed":
                disturbing = threading.Thread(target=disturb, daemon=True)
                disturbing.start()
                try:
                    while disturbing.is_alive():
                        with there:  # whoever was refused waits for the server before the next try
                            process = begin(where)
                        process.join()
                        refused += process.exitcode == 2
                        assert process.exitcode in (0, 2), (tmp_path / name / "log.txt").read_text()[-3000:]
                finally:
                    over.set()
                    disturbing.join()
            ended(begin(where), where)
            made = result(where)
            verdicts = {stage for stage in made["stages"] if stage.endswith("/gate")}  # they name the champion of then
            stages = {stage: content for stage, content in made["stages"].items() if stage not in verdicts}
            results.append({"stages": stages, "registry": made["registry"]})
            silence = max(silence, longest_silence(where))
            assert leftovers(where) == []
    kills, lost = store.kills + mlflow.kills, results[0] != results[1]
    note(
        "SIGKILL of SeaweedFS or MLflow during a run",
        survived=max(0, kills - refused) * (not lost), refused=min(refused, kills), lost=kills * lost, silence=silence,
    )  # fmt: skip
    assert results[0] == results[1]


def test_the_whole_of_srlm_run(tmp_path: Path, mlflow_server: str, note: Note) -> None:
    """Its servers, its steps, its screen: nothing of it is left running, and the last one comes to its end."""
    model, draws, kills = make_tiny_model(tmp_path / "model"), random.Random(5), 0
    with place(tmp_path / "calm", model, mlflow_server) as where:
        ended(begin(where), where)
        expected = {name: content[1] for name, content in result(where)["stages"].items() if "/gate" not in name}
    with place(tmp_path / "killed", model, mlflow_server) as where:
        home = Path(where.environment["SRLM_HOME"])
        settings = [part for one in (*SETTINGS, *where.settings, f"model.base={model}") for part in ("--set", one)]
        judges = ["--judge-endpoint", where.url, "--judge-model", JUDGE]
        judges += ["--annotator-endpoint", f"{where.url}/v1", "--annotator-model", ANNOTATOR]
        command = [sys.executable, "-m", "pipelines.cli.main", "run", "demo", *settings, *judges, "--run", RUN]
        command += ["--engine", "endpoint", "--endpoint", where.url, "--store", where.store]
        environment = {**os.environ, **where.environment, "PYTHONPATH": str(ROOT), "SRLM_EVENTS": ""}
        with (tmp_path / "srlm.log").open("ab") as log:
            for _ in range(7):
                process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
                if kills < 5:  # a moment after some word of its, as a slow machine is long at its imports
                    until_it_said(tmp_path / "srlm.log", draws.randint(1, 4 + 5 * kills), process)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(draws.uniform(0, 5))
                    kills += process.poll() is None
                    process.kill()
                if process.wait() == 0:
                    break
                until_gone(f"SRLM_OWNER_PID={process.pid}")
        assert process.returncode == 0, (tmp_path / "srlm.log").read_text()[-3000:]
        until_gone(f"SRLM_OWNER_PID={process.pid}")
        left = [words for _, _, words in processes() if any(str(home) in word for word in words)]
        made = _digests(where)
        lost = made != expected
        note("SIGKILL of srlm run, all of it", survived=kills * (not lost), lost=kills * lost)
        assert made == expected and left == [] and leftovers(where) == []


def until_it_said(log: Path, lines: int, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    """So many lines more than now; or it is over, or the time is."""
    deadline, wanted = time.monotonic() + seconds, log.read_bytes().count(b"\n") + lines
    while log.read_bytes().count(b"\n") < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)


def _digests(where: Place) -> dict[str, str]:
    summary = json.loads((Path(where.store) / "runs" / RUN / "summary.json").read_text())
    return {one["name"]: one["digest"] for one in summary["stages"] if "/gate" not in one["name"]}


def until_gone(variable: str, seconds: float = 60.0) -> None:
    """No process has this in its environment any more."""

    def there() -> bool:
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if variable.encode() in path.read_bytes().split(b"\0"):
                    return True
        return False

    deadline = time.monotonic() + seconds
    while there():
        assert time.monotonic() < deadline, f"something with {variable} is left"
        time.sleep(0.2)
