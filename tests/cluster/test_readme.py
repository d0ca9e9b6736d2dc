"""README's three commands for a bare cluster, as they stand there, in a namespace of their own."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.kubernetes.client import Cluster, connect
from tests.helpers.chart import helm_program
from tests.helpers.paths import ROOT
from tests.helpers.release import RESTRICTED

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
FAR_ENOUGH = "m0/base-model"  # the demo goes on for minutes; that its pod works with store and registry shows here


@pytest.fixture
def bare(release: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A new namespace that is kubectl's current one, with helm and srlm on PATH."""
    cluster = connect(f"srlm-readme-{secrets.token_hex(3)}")
    cluster.core.create_namespace({"metadata": {"name": cluster.namespace, "labels": RESTRICTED}})
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = cluster.namespace
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    programs = [str(Path(sys.executable).parent), str(Path(helm_program()).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", ":".join(programs))
    for name in ("SRLM_TRACKING_URI", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    yield cluster
    cluster.core.delete_namespace(cluster.namespace)


def commands(block: int) -> list[str]:
    """The lines of a block of the section on clusters."""
    section = (ROOT / "README.md").read_text().partition("## On a cluster")[2].partition("\n## ")[0]
    return list(re.findall(r"```\n(.*?)```", section, re.DOTALL)[block].strip().splitlines())


def run(command: str) -> str:
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_starts_with_three_commands(bare: Cluster) -> None:
    install, create, follow = commands(0)
    run(install)
    run(create)
    with subprocess.Popen(["bash", "-c", f"exec {follow}"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as following:
        seen = []
        for line in following.stdout or []:
            seen.append(line)
            if FAR_ENOUGH in line:
                break
        following.terminate()
    assert any(FAR_ENOUGH in line for line in seen), "".join(seen)
    run("srlm cancel demo-1")


def test_the_cluster_takes_what_a_run_on_kubeflow_needs(bare: Cluster) -> None:
    """Nothing of Kubeflow is here to run it: the real API server checks all and keeps nothing."""
    install, create, status = (line.replace(" team", f" {bare.namespace}") for line in commands(1))
    run(f"{install} --dry-run=server")
    assert "created (server dry run)" in run(create.replace("kubectl create", "kubectl create --dry-run=server"))
    assert run(status)
