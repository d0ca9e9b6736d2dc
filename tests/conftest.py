"""What several test folders share."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.helpers.scripted_endpoint import Script, served
from tests.helpers.small_world import SmallWorld, make_small_world

if TYPE_CHECKING:
    from mlflow import MlflowClient


hypothesis.settings.register_profile("unhurried", deadline=None)  # of an example: machines are shared
hypothesis.settings.load_profile("unhurried")
# The files that take longest, so that of two processes neither waits long for the other in the end.
LONGEST = ("test_loop.py", "test_run_and_plan.py", "test_tiny_loop.py", "test_several_processes.py")
LONGEST += ("test_operations.py", "test_services.py", "test_register.py", "test_early_stop.py")
# one process has these files, and one run
BESIDE = dict.fromkeys(("test_run_and_plan.py", "test_tiny_loop.py", "test_lost_pod.py"), "tiny_run")


def pytest_configure() -> None:
    """Who is sent Ctrl-C by a test ends, also where the tests run in the background: there a shell has it ignored, and
    every process that they start would, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each process has whole files (--dist loadfile), and those together that share a fixture of minutes."""
    from xdist.scheduler import LoadFileScheduling

    class WholeFiles(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return BESIDE.get(file.rpartition("/")[2], file)

    return WholeFiles(config, log) if config.getoption("dist") == "loadfile" else None


EXECUTED: set[str] = set()  # words of the tests that were executed, their markers among them


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and not report.skipped:
        EXECUTED.update(report.keywords)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that was to show something on a cluster, say, and skipped all of it has not passed (issue 14)."""
    wanted = os.environ.get("SRLM_REQUIRE", "").split()
    if missing := [marker for marker in wanted if marker not in EXECUTED]:
        print(f"\nSRLM_REQUIRE: no test that is marked {', '.join(missing)} was executed")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _compile_without_reading_the_stack() -> None:
    """KFP asks for the name of its caller with all frames and their sources, at each setting of a task: with pytest's
    stack and the modules of all tests that was nine tenths of what compiling took here."""
    if module := sys.modules.get("kfp.dsl.pipeline_task"):
        module.inspect = SimpleNamespace(
            stack=lambda: [(None, None, None, sys._getframe(n).f_code.co_name) for n in (1, 2)]
        )


@pytest.fixture(autouse=True)
def _libraries_as_before() -> Iterator[None]:
    """No test meets the server, keys and proxies that libraries have kept of an earlier one's."""
    yield
    urllib.request.install_opener(None)
    if module := sys.modules.get("mlflow"):
        module.set_tracking_uri(None)  # a variable of the environment, too
    if module := sys.modules.get("boto3"):
        module.DEFAULT_SESSION = None
    if module := sys.modules.get("mlflow.store.artifact.s3_artifact_repo"):
        module._cached_get_s3_client.cache_clear()


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallWorld]:
    """A world whose whole loop runs in about three minutes, and an annotator that knows its truth."""
    with make_small_world(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def serve() -> Iterator[Callable[[Script], str]]:
    """Start servers that follow a script; gives their URLs."""
    with ExitStack() as servers:
        yield lambda script: servers.enter_context(served(script))


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real MLflow server, one for all tests; each uses names of its own."""
    from components.core.processes import end
    from pipelines.local import services

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(tmp_path_factory.mktemp("mlflow")))
        services._folder().mkdir(parents=True)
        pid, port = services._launch("mlflow", lambda: services._mlflow_server(services.Services().environment()))
    yield f"http://127.0.0.1:{port}"
    end(pid, group=True)


@pytest.fixture
def tracking_uri(mlflow_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The server's URI for a test whose client does not wait for servers that are down."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    return mlflow_server


@pytest.fixture
def client(tracking_uri: str) -> MlflowClient:
    """Of the MLflow server."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)


@pytest.fixture
def registered_name() -> str:
    """A name in the registry that no other test uses."""
    return f"model-{secrets.token_hex(4)}"
