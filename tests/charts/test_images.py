"""Which images the chart names: never one that anybody else could push (issue 14)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.chart import CHART, containers, pick, pod_specs, refusal, render
from tests.helpers.paths import ROOT

DIGEST = "sha256:" + "5a" * 32


def test_without_a_registry_it_is_refused_with_what_to_say() -> None:
    told = refusal("--set=images.preloaded=false")
    assert "images.registry" in told and "images.preloaded=true" in told


def test_a_digest_stands_behind_the_name_for_pods_and_for_runs() -> None:
    made = render("--set=images.registry=ghcr.io/you", f"--set=images.digests.worker={DIGEST}")
    name = f"ghcr.io/you/self-rewarding-pipelines/worker:0.1.0@{DIGEST}"
    assert pick(made, "ConfigMap", "srlm")["data"]["SRLM_WORKER_IMAGE"] == name
    reaper = dict(pod_specs(made))["CronJob/srlm-reaper"]
    assert [one["image"] for one in containers(reaper)] == [name]


def test_a_release_writes_registry_and_digests_into_the_values(tmp_path: Path) -> None:
    for name in ("images/release.py", "charts/self-rewarding/values.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    names = ("worker", "trainer", "engine", "services")
    (tmp_path / "digests").mkdir()
    for name in names:
        (tmp_path / "digests" / name).write_text(f"{DIGEST}\n")
    command = [sys.executable, str(tmp_path / "images/release.py"), "ghcr.io/you", str(tmp_path / "digests")]
    subprocess.run(command, check=True)
    before = yaml.safe_load((CHART / "values.yaml").read_text())
    after = yaml.safe_load((tmp_path / "charts/self-rewarding/values.yaml").read_text())
    assert after["images"] == before["images"] | {"registry": "ghcr.io/you", "digests": dict.fromkeys(names, DIGEST)}
    assert {**after, "images": 0} == {**before, "images": 0}
    (tmp_path / "digests" / "worker").write_text("latest")
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(command, check=True, capture_output=True)
