"""One API error is no verdict: what may pass is asked again until a deadline, over real HTTP by the real client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.kubernetes import client as module
from components.kubernetes.client import ClusterError, connect
from components.kubernetes.settings import ClusterSettings
from components.serving.kubernetes import engine
from tests.helpers.scripted_cluster import serving


class Flaky:
    """An API server whose first answers are `errors` (0: it hangs up); then it lists no pods."""

    def __init__(self, *errors: int) -> None:
        self.errors, self.asked = list(errors), 0

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.asked += 1
        if self.errors:
            return self.errors.pop(0), {"message": "failed calling webhook: connection refused"}
        return 200, {"kind": "PodList", "items": []}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which pass at once; the clock goes by them alone."""
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    monkeypatch.setattr(module.time, "monotonic", lambda: sum(pauses))
    return pauses


def ask(api: Flaky, folder: Path, monkeypatch: pytest.MonkeyPatch, patience: float) -> Any:
    with serving(api, folder / "kubeconfig", monkeypatch):
        cluster = connect(patience=patience)
        return cluster.core.list_namespaced_pod(cluster.namespace).items


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, status: int
) -> None:
    """A status of 0 stands for a connection that breaks: urllib3 asks twice more by itself before we do."""
    api = Flaky(*[status] * (6 if status == 0 else 2))
    assert ask(api, tmp_path, monkeypatch, 300) == []
    told = capsys.readouterr().err.splitlines()
    assert "asking again for" in told[0] and "the cluster answers again, after" in told[-1]
    assert len(told) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_what_a_second_try_cannot_mend_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    api = Flaky(status)
    with pytest.raises(ClusterError, match="connection refused"):
        ask(api, tmp_path, monkeypatch, 300)
    assert api.asked == 1


def test_it_is_given_up_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float], capsys: Any
) -> None:
    """The last pause ends at the deadline. Once a minute a line says that it still waits."""
    with pytest.raises(ClusterError, match="connection refused"):
        ask(Flaky(*[503] * 1000), tmp_path, monkeypatch, 300)
    assert 300 <= sum(clock) < 301 and max(clock) <= 10
    assert 5 <= len(capsys.readouterr().err.splitlines()) <= 6


def test_a_person_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """Without patience, as the commands ask that a person waits for."""
    with pytest.raises(ClusterError, match="connection refused"):
        ask(Flaky(503), tmp_path, monkeypatch, 0)
    assert clock == []


def test_the_deadline_of_a_run_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(engine, "connect", lambda patience: asked.append(patience) or 1)
    assert engine.KubernetesEngine("tgi", ClusterSettings(patience=20)).cluster
    assert asked == [20] and ClusterSettings().patience == 300
