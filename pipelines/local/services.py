"""The S3 store (SeaweedFS) and the MLflow server of a laptop: started, shared, stopped; their data stay in `.srlm/`.

A file under a lock says what runs and who uses it. A run that was killed leaves its servers to the next one, and the
last user stops them, unless `srlm up` asked to keep them. Servers of this folder that the
file does not know, as a killed starter leaves them, are found by their command lines and stopped (issue 16).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from components.core.errors import UserError
from components.core.local_files import read_state, write_whole
from components.core.processes import alive, end, free_ports, processes
from components.core.proxies import ask_directly
from components.core.store import home
from components.registry.client import database_of_another

BUCKET = "srlm"
START_TIMEOUT_S = 120
VOLUME_GRPC_OFFSET = 10000  # weed derives the volume server's second port
PAGE_PORT = 5000
STORE_HEALTH, MLFLOW_HEALTH = "/healthz", "/health"
REGISTRY = "sqlite:///"  # and the path of the registry's file
WEED_PORTS = (
    *("master.port", "master.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"),
    *("admin.port", "admin.port.grpc", "debug.port"),
)


@dataclass
class Services:
    """What runs: process ids (leaders of their groups), ports, and the processes that use them."""

    store_pid: int = 0
    store_port: int = 0
    mlflow_pid: int = 0
    mlflow_port: int = 0
    keep: bool = False
    users: list[int] = field(default_factory=list)

    @property
    def store_url(self) -> str:
        return f"http://127.0.0.1:{self.store_port}"

    @property
    def tracking_uri(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    def running(self, registry: bool = True) -> bool:
        servers = [(self.store_pid, self.store_url + STORE_HEALTH)]
        if registry:
            servers.append((self.mlflow_pid, self.tracking_uri + MLFLOW_HEALTH))
        return all(pid and alive(pid) and _answers(health) for pid, health in servers)

    def environment(self) -> dict[str, str]:
        """What a client of the store needs."""
        return {"AWS_ENDPOINT_URL_S3": self.store_url, "AWS_REGION": "us-east-1", **_credentials()}

    def environment_of_clients(self) -> dict[str, str]:
        """What clients that are not ours need for both servers: boto3's and MLflow's own names."""
        named = {"AWS_DEFAULT_REGION": "us-east-1", "MLFLOW_S3_ENDPOINT_URL": self.store_url}
        return {**self.environment(), **named, "MLFLOW_TRACKING_URI": self.tracking_uri}


@contextmanager
def services(keep: bool = False, registry: bool = True) -> Iterator[Services]:
    """The two servers, running; stopped on the way out when nobody else uses them and nobody asked to keep them.

    Without the `registry` the store alone, which answers in a fifth of the time. Raises UserError where one does not
    start.
    """
    ask_directly()
    with _state() as state:
        if not state.running(registry) or _key() is None:
            store_alone = not state.mlflow_pid and state.running(registry=False) and _key() is not None
            if not store_alone:
                _stop(state)
            with _page_port() if keep else nullcontext(0) as port:
                _start(state, registry, port)
        state.keep = state.keep or keep
        state.users.append(os.getpid())
    try:
        yield state
    finally:
        with _state() as state:
            with suppress(ValueError):  # srlm down --force has forgotten its users
                state.users.remove(os.getpid())  # once: who has the store may have taken the registry, too
            if not state.users and not state.keep:
                _stop(state)


def running_services() -> Services:
    """Raises UserError where they do not run."""
    with _state() as state:
        if state.running():
            return state
    raise UserError("the local store and registry do not run", "srlm up starts them.")


def store_runs() -> bool:
    """Whether the local store can be asked without being started."""
    with _state() as state:
        return state.running(registry=False)


def registry_here() -> str:
    """Where this machine's registry answers soonest: its server, where that runs, else its file, which MLflow's client
    reads itself; that takes a second and a half more, and a start of the server many."""
    with _state() as state:
        return state.tracking_uri if state.running() else registry_file()


def stop_services(force: bool = False) -> bool:
    """Stop the servers; False when none ran. Raises UserError where somebody uses them, unless `force` says so."""
    with _state() as state:
        if state.users and not force:
            raise UserError(
                f"runs use the local store and registry (processes {', '.join(map(str, state.users))})",
                "Let them end, or end them by srlm cancel RUN; srlm down --force stops the servers under them.",
            )
        state.users, state.keep = [], False
        return _stop(state)


def _folder() -> Path:
    return home() / "services"


@contextmanager
def _state() -> Iterator[Services]:
    """The state file, read and written back under a lock."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "state.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read_state(path) or {}
        state = Services(**{name: value for name, value in known.items() if name in Services.__annotations__})
        state.users = [pid for pid in state.users if alive(pid)]
        try:
            yield state
        finally:
            write_whole(path, json.dumps(asdict(state)))


@contextmanager
def _page_port() -> Iterator[int]:
    """MLflow's usual port, for people who keep its page open, while nobody else of this tool may take it; 0 where it is
    not free."""
    with ExitStack() as held:
        try:
            lock = held.enter_context((Path(tempfile.gettempdir()) / f"srlm-port-{PAGE_PORT}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was closed a moment ago is free
                probe.bind(("127.0.0.1", PAGE_PORT))
            port = PAGE_PORT
        except OSError:
            port = 0
        yield port


def _start(state: Services, registry: bool, port: int) -> None:
    """What does not run yet; `port` is MLflow's, 0: one that is free."""
    try:
        if not state.store_pid:
            state.store_pid, state.store_port = _launch("store", _store_server)
        if registry:
            wanted = iter([port])  # once: should somebody have taken it since, any other will do
            started = _launch("mlflow", lambda: _mlflow_server(state.environment(), next(wanted, 0)))
            state.mlflow_pid, state.mlflow_port = started
    except UserError:
        _stop(state)
        raise


def _stop(state: Services) -> bool:
    """End the servers that the state names, and those of this folder that it does not; False where there was none."""
    left = _left_running()
    known = [pid for pid in (state.mlflow_pid, state.store_pid) if pid and alive(pid)]
    groups = list(dict.fromkeys([*known, *left]))  # the registry first: it writes to the store
    for group in groups:
        end(group, group=True)
    state.store_pid = state.mlflow_pid = 0
    return bool(groups)


def _left_running() -> list[int]:
    """The process groups of servers whose data lie in this folder: a killed starter has told nobody of them."""
    ours = {registry_file(), f"-dir={store_folder()}"}
    groups = []
    for pid, _, command in processes():
        if not ours.isdisjoint(command):
            with suppress(ProcessLookupError):
                groups.append(os.getpgid(pid))
    return [group for group in dict.fromkeys(groups) if group != os.getpgrp()]


@dataclass(frozen=True)
class Server:
    """A server to start: its command, what that finds in its environment, its port, and the path that tells health."""

    command: list[str]
    environment: dict[str, str]
    port: int
    health: str


def _launch(name: str, prepare: Callable[[], Server]) -> tuple[int, int]:
    """Start a server on ports that were free a moment ago; try again should somebody have taken one since."""
    log = _folder() / f"{name}.log"
    for _ in range(3):
        server = prepare()
        log.write_bytes(b"")
        with log.open("ab") as output:  # a server that is left from before would leave a hole of zeros, otherwise
            process = subprocess.Popen(
                server.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | server.environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            if _answers(f"http://127.0.0.1:{server.port}{server.health}"):
                return process.pid, server.port
            time.sleep(0.1)
        end(process.pid, group=True)
        said = log.read_text(errors="replace").strip()
        if other := database_of_another(said, registry_file()):
            raise other
    lines = said.splitlines()
    raise UserError(
        f"the local {name} server does not start ({lines[-1] if lines else 'no output'})",
        f"Its log is {log}; check memory and disk space.",
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except (OSError, urllib.error.URLError):
        return False


def _store_server() -> Server:
    data = store_folder()
    data.mkdir(parents=True, exist_ok=True)
    for folder in data.glob("m[0-9]*"):  # what its master agreed upon with itself, by port: each start would leave one
        shutil.rmtree(folder, ignore_errors=True)
    ports = dict(zip(WEED_PORTS, free_ports(len(WEED_PORTS)), strict=True))
    ports["volume.port"] = free_ports(1, VOLUME_GRPC_OFFSET)[0]
    command = [_program("weed"), "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    return Server(command, _credentials(), ports["s3.port"], STORE_HEALTH)


def _mlflow_server(store: dict[str, str], port: int = 0) -> Server:
    """MLflow's tracking server and registry, with its artifacts in the store, which this environment describes."""
    port = port or free_ports(1)[0]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", registry_file()]
    # Named as the place of artifacts, too: a run that finds all its work done logs its report without this server.
    command += ["--artifacts-destination", f"s3://{BUCKET}/mlflow", "--default-artifact-root", f"s3://{BUCKET}/mlflow"]
    # Job execution would start a dozen more processes (2.9 GB instead of 0.6) that nothing here uses.
    return Server(command, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **store}, port, MLFLOW_HEALTH)


def store_folder() -> Path:
    """Where the local store keeps its data; it is not there before the first start."""
    return home().absolute() / "store"


def registry_file() -> str:
    """Where the local registry keeps its data, as a URI that MLflow's client reads as it reads its server."""
    return f"{REGISTRY}{home().absolute()}/mlflow.db"


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)  # the environment's own, though it may not be activated
    program = str(beside) if beside.exists() else shutil.which(name)
    if not program:
        raise UserError(f"the program {name} is not installed", "pip install 'self-rewarding-pipelines[local]'")
    return program


def _credentials() -> dict[str, str]:
    """This store's own key, made once and readable by its owner alone; another in place of a damaged one."""
    key = _key()
    if key is None:
        key = {"AWS_ACCESS_KEY_ID": secrets.token_hex(10), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}
        write_whole(_folder() / "credentials.json", json.dumps(key), mode=0o600)
    return key


def _key() -> dict[str, str] | None:
    """The key that servers and clients have; the store's data can be read with any."""
    return read_state(_folder() / "credentials.json")
