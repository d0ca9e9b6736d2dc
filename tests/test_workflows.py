"""The workflows of CI: whatever they use is pinned, and they say no more than they need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.core.images import ENGINE, SERVICES, TRAINER, WORKER
from tests.helpers.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(yaml.safe_load(Path(request.param).read_text()))


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_action_is_pinned_by_its_commit(workflow: dict[str, Any]) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used and not [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)]


def test_no_input_is_pasted_into_a_script_and_every_job_ends(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert not [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")]
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())


def test_images_are_built_from_what_is_pinned() -> None:
    dockerfile = (ROOT / "images" / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", dockerfile, re.MULTILINE)
    installs = re.findall(r"pip install (.*?)(?: && | \\|; |$)", dockerfile, re.MULTILINE)
    ours, torch = "--no-build-isolation /src", "-c /build/constraints.txt /images/wheels/torch-*+*"
    assert len(installs) > 5
    assert not [one for one in installs if "--require-hashes" not in one and not one.endswith((ours, torch))]


def test_the_locks_hold_what_the_project_asks_for_in_the_tested_versions() -> None:
    """Each layer's lock and those below it have every dependency, in the version of constraints.txt."""
    pinned = versions(ROOT / "constraints.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    layers = {"base": project["dependencies"], "worker": extras["benchmarks"], "services": extras["services"]}
    layers |= {"engine": extras["serve"], "trainer": [*extras["train"], *extras["serve"]]}
    below = {"engine": ("torch",), "trainer": ("torch", "engine")}
    for layer, wanted in layers.items():
        files = ("base", *below.get(layer, ()), layer)
        locked = {name: one for file in files for name, one in versions(ROOT / f"images/locks/{file}.txt").items()}
        names = [re.split(r"[\[<>=]", one)[0].lower().replace("_", "-") for one in wanted]
        assert not [name for name in names if locked[name] != pinned[name]], layer


def versions(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9.-]*)==([^\s;]+)", lock.read_text(), re.MULTILINE))


def test_the_release_builds_every_image_of_ours() -> None:
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    built = release["jobs"]["images"]["strategy"]["matrix"]["target"]
    assert sorted(built) == sorted(one.rpartition("/")[2].split(":")[0] for one in (WORKER, TRAINER, ENGINE, SERVICES))
