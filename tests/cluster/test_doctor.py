"""srlm doctor: what it finds, and that it ends with 2 exactly where something is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.core.errors import UserError
from components.core.store import DirectoryStore
from components.kubernetes.client import Cluster
from pipelines.cli.runs import commands
from pipelines.cluster.doctor import Doctor, _use
from pipelines.cluster.permissions import PERSON, RUN, TRAINING, missing_of, own_missing
from tests.cluster.conftest import IMAGE


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KF_PIPELINES_ENDPOINT", "SRLM_STORE", "SRLM_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nosuch"))
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))


def test_a_store_that_creates_once_is_fine_and_left_empty(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path))
    assert _use(store).state == "ok"
    assert store.names() == []


class Overwriting(DirectoryStore):
    """As S3 servers that ignore If-None-Match."""

    def create(self, name: str, data: bytes) -> bool:
        self.write(name, data)
        return True


class Forgetful(DirectoryStore):
    def read(self, name: str) -> bytes | None:
        return None


def test_a_store_that_lets_a_second_writer_win_is_broken(tmp_path: Path) -> None:
    found = _use(Overwriting(str(tmp_path)))
    assert found.state == "broken" and "If-None-Match" in found.text
    assert _use(Forgetful(str(tmp_path))).state == "broken"


def test_without_a_cluster_it_looks_at_this_machine(no_cluster: None) -> None:
    found = list(Doctor().examine([]))
    assert {name for name, _ in found} == {"store", "registry", "kubeflow", "machine", "cluster"}
    assert ("cluster", "unknown") in {(name, one.state) for name, one in found}, "a local run needs none"


def test_what_is_asked_for_and_cannot_be_had_is_broken(no_cluster: None, tmp_path: Path) -> None:
    """An unreachable MLflow is broken where it is named, and no matter where it is not."""
    alone = CliRunner().invoke(commands, ["doctor", "--only", "registry,store", "--store", str(tmp_path)])
    named = CliRunner().invoke(commands, ["doctor", "--only", "registry", "--tracking-uri", "http://127.0.0.1:9"])
    asked = CliRunner().invoke(commands, ["doctor", "--only", "cluster"])
    assert (alone.exit_code, named.exit_code, asked.exit_code) == (0, 2, 2)
    assert "BROKEN registry" in named.stdout and "BROKEN cluster" in asked.stdout


def test_an_unknown_check_is_refused_with_the_names(no_cluster: None) -> None:
    with pytest.raises(UserError, match="machine"):
        list(Doctor().examine(["nosuch"]))


@pytest.mark.cluster
def test_an_administrator_may_all_and_a_bare_account_nothing(cluster: Cluster) -> None:
    assert own_missing(cluster, PERSON) == [] and own_missing(cluster, RUN) == []
    assert len(missing_of(cluster, "default", RUN)) == len(RUN)


@pytest.mark.cluster
def test_a_role_of_exactly_the_list_is_enough(cluster: Cluster) -> None:
    from kubernetes.client import RbacAuthorizationV1Api

    rules = [{"apiGroups": [one.group], "resources": [one.resource], "verbs": list(one.verbs)} for one in RUN]
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": cluster.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "srlm"}
    rbac = RbacAuthorizationV1Api(cluster.api)
    rbac.create_namespaced_role(cluster.namespace, {"metadata": {"name": "srlm"}, "rules": rules})
    binding = {"metadata": {"name": "srlm"}, "roleRef": role, "subjects": [subject]}
    rbac.create_namespaced_role_binding(cluster.namespace, binding)
    assert missing_of(cluster, "default", RUN) == []
    assert len(missing_of(cluster, "default", TRAINING)) == 2
    assert missing_of(cluster, "default", PERSON) != []


@pytest.mark.cluster
def test_the_chart_that_is_missing_is_what_a_bare_namespace_lacks(cluster: Cluster) -> None:
    found = list(Doctor(cluster.namespace).examine(["cluster"]))
    assert [one.state for _, one in found] == ["ok", "broken", "broken", "unknown"]
    cluster.core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": "srlm"}})
    cluster.core.create_namespaced_config_map(cluster.namespace, {"metadata": {"name": "srlm"}})
    assert [one.state for _, one in Doctor(cluster.namespace).examine(["cluster"])] == ["ok", "ok", "ok", "unknown"]


@pytest.mark.cluster
def test_an_image_is_pulled_or_not(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_WORKER_IMAGE", IMAGE)
    monkeypatch.setenv("SRLM_TRAINER_IMAGE", "localhost/nosuch:1")
    monkeypatch.setenv("SRLM_TRANSFORMERS_IMAGE", "Localhost/NONE:1")
    found = [one for _, one in Doctor(cluster.namespace, pull=True).examine(["images"])]
    assert [one.state for one in found] == ["ok", "broken", "broken"]
    assert "localhost/nosuch:1" in found[1].text and "lowercase" in found[2].text
    left = cluster.core.list_namespaced_pod(cluster.namespace).items
    assert all(one.metadata.deletion_timestamp for one in left)
