"""What serves or trains for a run goes once the run has ended, and never before; by what the API says of its owner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.core.errors import UserError
from components.kubernetes.client import ClusterError, connect
from components.kubernetes.leftovers import held_objects
from components.kubernetes.objects import labels
from pipelines.cli.runs import commands
from tests.helpers.scripted_cluster import serving

GROUPS = {"Workflow": "argoproj.io/v1alpha1", "Pod": "v1", "Job": "batch/v1"}
PATHS = {"workflows": "Workflow", "pods": "Pod", "jobs": "Job"}


def owned(name: str, component: str, *owners: str) -> dict[str, Any]:
    """An object of the run `demo-1`; owners as "Kind/name"."""
    named = [tuple(one.split("/")) for one in owners]
    references = [
        {"apiVersion": GROUPS.get(kind, "v1"), "kind": kind, "name": name, "uid": f"uid of {kind}/{name}"}
        for kind, name in named
    ]
    meta = {"name": name, "labels": labels(component, "demo-1", "m1"), "ownerReferences": references}
    return {"metadata": {key: value for key, value in meta.items() if value}}


class Namespace:
    """Deployments, TrainJobs, and owners: "Kind/name" with the phase (of a Job: its condition) and its own owner."""

    def __init__(self, owners: dict[str, tuple[str, str]], *servers: Any, jobs: Any = (), refused: int = 0) -> None:
        self.owners, self.servers, self.jobs, self.refused = owners, list(servers), list(jobs), refused
        self.deleted: list[str] = []

    def answer(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        path = url.partition("?")[0]
        kind, _, name = path.partition("/namespaces/runs/")[2].partition("/")
        if method == "DELETE":
            self.deleted.append(f"{kind}/{name}")
            return 200, {}
        if kind == "deployments":
            assert "model-server" in url
            return 200, {"kind": "DeploymentList", "items": self.servers}
        if kind == "trainjobs":
            return (200, {"items": self.jobs}) if self.jobs else (404, {"message": "no such resource"})
        if self.refused:
            return self.refused, {"message": "you may not"}
        owner = f"{PATHS[kind]}/{name}"
        return (200, self._owner(owner)) if owner in self.owners else (404, {"message": "gone"})

    def _owner(self, owner: str) -> dict[str, Any]:
        phase, above = self.owners[owner]
        kind, name = owner.split("/")
        conditions = [{"type": phase, "status": "True"}] if phase else []
        status = {"conditions": conditions} if kind == "Job" else {"phase": phase}
        shown = owned(name, "", *([above] if above else []))
        return {"kind": kind, "apiVersion": GROUPS[kind], "metadata": shown["metadata"] | {"uid": f"uid of {owner}"},
                "status": status}  # fmt: skip


def whys(namespace: Namespace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    with serving(namespace, folder / "kubeconfig", monkeypatch):
        return [held.why for held in held_objects(connect())]


@pytest.mark.parametrize(
    ("owners", "why"),
    [
        ({"Workflow/w": ("Running", "")}, ""),
        ({"Workflow/w": ("", "")}, ""),  # not begun
        ({"Workflow/w": ("Succeeded", "")}, "Workflow w has ended (Succeeded)"),
        ({"Workflow/w": ("Failed", "")}, "Workflow w has ended (Failed)"),
        ({"Workflow/w": ("Error", "")}, "Workflow w has ended (Error)"),
        ({}, "Workflow w is gone"),
    ],
)
def test_what_a_workflow_holds_goes_with_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owners: dict[str, tuple[str, str]], why: str
) -> None:
    """Its phases as they were recorded; a Workflow that Retry set to work again runs again, and nothing of it goes."""
    server, job = owned("s", "model-server", "Workflow/w"), owned("j", "training", "Workflow/w")
    assert whys(Namespace(owners, server, jobs=[job]), tmp_path, monkeypatch) == [why, why]


@pytest.mark.parametrize(
    ("owners", "goes"),
    [
        ({"Pod/p": ("Running", "Job/j"), "Job/j": ("", "")}, False),
        ({"Pod/p": ("Failed", "Job/j"), "Job/j": ("", "")}, False),  # the Job makes another pod, which serves again
        ({"Pod/p": ("Failed", "Job/j"), "Job/j": ("Failed", "")}, True),
        ({"Pod/p": ("Succeeded", "Job/j"), "Job/j": ("Complete", "")}, True),
        ({"Pod/p": ("Succeeded", "Job/j")}, True),
        ({"Pod/p": ("Succeeded", "")}, True),
    ],
)
def test_what_a_job_s_pod_holds_goes_with_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owners: dict[str, tuple[str, str]], goes: bool
) -> None:
    server = owned("s", "model-server", "Pod/p")
    assert [bool(why) for why in whys(Namespace(owners, server), tmp_path, monkeypatch)] == [goes]


def test_what_has_no_owner_or_one_that_is_not_known_or_lives_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person made it; or one of two owners is at work. What has no run is a model that somebody deployed."""
    deployed = {"metadata": {"name": "champion", "labels": labels("model-server", "", "champion")}}
    owners = {"Workflow/old": ("Failed", ""), "Workflow/new": ("Running", "")}
    both = owned("s", "model-server", "Workflow/old", "Workflow/new")
    servers = (owned("a", "model-server"), owned("b", "model-server", "Notebook/mine"), both, deployed)
    assert whys(Namespace(owners, *servers), tmp_path, monkeypatch) == ["", "", ""]


def test_who_may_not_see_whether_a_run_has_ended_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = Namespace({}, owned("s", "model-server", "Workflow/w"), refused=403)
    with pytest.raises(ClusterError, match="you may not"):
        whys(namespace, tmp_path, monkeypatch)


def test_clean_shows_first_and_removes_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"Workflow/w": ("Failed", ""), "Workflow/v": ("Running", "")}
    servers = (owned("s", "model-server", "Workflow/w"), owned("t", "model-server", "Workflow/v"))
    namespace = Namespace(owners, *servers, jobs=[owned("j", "training", "Workflow/w")])
    with serving(namespace, tmp_path / "kubeconfig", monkeypatch):
        for options in ([], ["--dry-run"]):
            shown = CliRunner().invoke(commands, ["clean", *options])
            assert shown.exit_code == 0 and "nothing was removed" in shown.stdout and namespace.deleted == []
        assert "goes  server s of the run demo-1: Workflow w has ended (Failed)" in shown.stdout
        assert "stays server t of the run demo-1: it lives" in shown.stdout
        done = CliRunner().invoke(commands, ["clean", "--yes"])
    assert namespace.deleted == ["services/s", "deployments/s", "trainjobs/j"]
    assert done.stdout.splitlines()[-2:] == ["removed the server s", "removed the TrainJob j"]


def test_clean_tells_a_script_what_went_and_does_not_ask_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"Workflow/w": ("Failed", ""), "Workflow/v": ("Running", "")}
    servers = (owned("s", "model-server", "Workflow/w"), owned("t", "model-server", "Workflow/v"))
    namespace = Namespace(owners, *servers)
    with serving(namespace, tmp_path / "kubeconfig", monkeypatch):
        asked = CliRunner().invoke(commands, ["clean", "--json"])
        assert isinstance(asked.exception, UserError) and namespace.deleted == []
        told = [CliRunner().invoke(commands, ["clean", "--json", way]).stdout for way in ("--dry-run", "--yes")]
    shown, done = ({one["name"]: one for one in json.loads(text)["objects"]} for text in told)
    assert [(one["goes"], one["removed"]) for one in shown.values()] == [(True, False), (False, False)]
    assert [(one["goes"], one["removed"]) for one in done.values()] == [(True, True), (False, False)]
    assert done["s"] | {"kind": "server", "run": "demo-1", "why": "Workflow w has ended (Failed)"} == done["s"]
