"""What outlives a release: its data, the key of its store, and a database that an older MLflow has made."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.initial_models import Base as FirstTables
from sqlalchemy import create_engine

from tests.helpers.chart import CHART, PRELOADED, Manifest, helm_program, pick, pod_specs, render

OURS = "--set=secret.existingSecret=mine"
BOTH = ("--set=seaweedfs.enabled=true", "--set=mlflow.enabled=true", OURS)
UPGRADE = CHART / "files" / "upgrade.py"
OLD = "3500859a5d39"  # the schema of MLflow 2.3 (2023), the first with aliases
KEEP = {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize("part", ["mlflow", "seaweedfs"])
def test_data_stay_when_the_release_goes(part: str) -> None:
    name = {"mlflow": "srlm-mlflow", "seaweedfs": "srlm-store"}[part]
    claim = pick(render(*BOTH), "PersistentVolumeClaim", name)
    assert claim["metadata"]["annotations"] == KEEP
    gone = pick(render(*BOTH, f"--set={part}.persistence.keep=false"), "PersistentVolumeClaim", name)
    assert "annotations" not in gone["metadata"]


def test_a_key_of_one_s_own_is_rendered_the_same_each_time() -> None:
    """As Argo CD renders it; no Secret is made."""
    first, second = render(*BOTH), render(*BOTH)
    assert first == second and not [one for one in first if one["kind"] == "Secret"]
    sources = dict(pod_specs(first))["Deployment/srlm-store"]["containers"][0]["env"]
    assert {one["valueFrom"]["secretKeyRef"]["name"] for one in sources if "valueFrom" in one} == {"mine"}


@pytest.fixture
def namespace() -> Iterator[str]:
    named = os.environ.get("SRLM_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    if not named or not Path(named).is_file():
        pytest.skip("needs a cluster: neither SRLM_TEST_KUBECONFIG nor KUBECONFIG names a file")
    name = f"lasting-{uuid.uuid4().hex[:6]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", named)
        yield name
        subprocess.run(["kubectl", "delete", "namespace", name, "--ignore-not-found", "--wait=false"], check=False)


@pytest.mark.cluster
@pytest.mark.slow
def test_data_and_key_outlive_a_release_of_a_real_cluster(namespace: str) -> None:
    """Also where the namespace is made by the installation itself. 20 and 40 random characters, kept by an upgrade and
    found by the next release."""
    values = (PRELOADED, "--set=seaweedfs.enabled=true", "--set=mlflow.enabled=true", "--set=rbac.create=false")
    chart, place = str(CHART), f"--namespace={namespace}"
    program([helm_program(), "install", "srlm", chart, place, "--create-namespace", *values])
    before = key(place)
    assert [len(one) for one in before] == [28, 56]  # in base64
    program([helm_program(), "upgrade", "srlm", chart, place, *values])
    assert key(place) == before
    program([helm_program(), "uninstall", "srlm", place, "--wait"])
    left = program(["kubectl", place, "get", "pvc,secret", "-o=name"]).split()
    assert {"persistentvolumeclaim/srlm-mlflow", "persistentvolumeclaim/srlm-store", "secret/srlm"} <= set(left)
    program([helm_program(), "install", "srlm", chart, place, *values])
    assert key(place) == before


def key(place: str) -> list[str]:
    form = "jsonpath={.data.AWS_ACCESS_KEY_ID} {.data.AWS_SECRET_ACCESS_KEY}"
    return program(["kubectl", place, "get", "secret", "srlm", f"-o={form}"]).split()


def program(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_database_is_upgraded_before_the_server_starts() -> None:
    """By the same image on the same database, in the pod that replaces the old one, which is gone by then."""
    manifests = render(*BOTH)
    assert pick(manifests, "Deployment", "srlm-mlflow")["spec"]["strategy"] == {"type": "Recreate"}
    spec: Manifest = dict(pod_specs(manifests))["Deployment/srlm-mlflow"]
    [upgrade], [server] = spec["initContainers"], spec["containers"]
    assert upgrade["command"] == ["python3", "-c", UPGRADE.read_text()]
    database = next(one for one in server["env"] if one["name"] == "MLFLOW_BACKEND_STORE_URI")
    assert database in upgrade["env"]
    assert all(upgrade[same] == server[same] for same in ("image", "volumeMounts", "securityContext", "resources"))


@pytest.fixture
def old_database(tmp_path: Path) -> Path:
    """As MLflow 2.3 left it, with a version that is champion."""
    path = tmp_path / "mlflow.db"
    engine = create_engine(f"sqlite:///{path}")
    FirstTables.metadata.create_all(engine)
    spec = find_spec("mlflow")
    assert spec and spec.submodule_search_locations
    config = Config()
    config.set_main_option("script_location", f"{spec.submodule_search_locations[0]}/store/db_migrations")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    command.upgrade(config, OLD)
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO registered_models (name, creation_time) VALUES ('demo', 1)")
        database.execute(
            "INSERT INTO model_versions (name, version, creation_time, source, current_stage, status)"
            " VALUES ('demo', 1, 1, 's3://b/sft/0123456789abcdef/files-1', 'None', 'READY')"
        )
        database.execute("INSERT INTO registered_model_aliases (name, alias, version) VALUES ('demo', 'champion', 1)")
        database.commit()
    return path


def upgrade(path: Path) -> str:
    uri = f"sqlite:///{path}"
    done = subprocess.run(
        [sys.executable, str(UPGRADE)],
        env=os.environ | {"MLFLOW_BACKEND_STORE_URI": uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def schema(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.slow
def test_an_older_database_serves_and_a_copy_of_it_stays(old_database: Path) -> None:
    """MLflow itself upgrades where a whole table is missing, without a copy, and does not start where a column is."""
    assert "as it was: mlflow-3500859a5d39.db" in upgrade(old_database)
    found = MlflowClient(f"sqlite:///{old_database}").get_model_version_by_alias("demo", "champion")
    assert (int(found.version), found.source) == (1, "s3://b/sft/0123456789abcdef/files-1")
    assert schema(old_database.with_name(f"mlflow-{OLD}.db")) == OLD
    assert upgrade(old_database) == ""  # a second start changes nothing
    assert sorted(path.name for path in old_database.parent.iterdir()) == [f"mlflow-{OLD}.db", "mlflow.db"]


@pytest.mark.slow
def test_without_a_database_the_server_makes_its_own(tmp_path: Path) -> None:
    assert upgrade(tmp_path / "mlflow.db") == "" and not list(tmp_path.iterdir())
