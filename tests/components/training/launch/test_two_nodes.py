"""Two nodes are two containers of the trainer image, started by Kubeflow's own SDK: they meet over the network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.core.images import TRAINER
from components.core.stage import find_manifest
from components.training.launch.request import TrainingRequest
from tests.components.training.test_several_processes import LORA, Toy, furthest
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.containers]


def worker(request: str) -> None:
    """What the SDK copies into the containers and has torchrun start, as the chart's runtime does with the module."""
    import sys

    from components.training.launch.worker import main

    sys.exit(main(request))


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Kubeflow's client with Docker behind it; its jobs' folders lie below the test's own."""
    trainer = pytest.importorskip("kubeflow.trainer")
    found = subprocess.run(["docker", "image", "inspect", TRAINER], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no Docker daemon that has {TRAINER} (make images): {found.stderr.strip()}")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "kubeflow")
    settings = {
        "container_runtime": "docker",
        "pull_policy": "Never",
        "auto_remove": False,
    }  # the folder holds the model
    return trainer.TrainerClient(trainer.ContainerBackendConfig(**settings))


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    return Toy(tmp_path / "alone")


def on_two_nodes(client: Any, request: TrainingRequest, place: Path, name: str) -> TrainingRequest:
    """Train in two containers that have the job's folder, with store and code in it, as /workspace."""
    from kubeflow.trainer import CustomTrainer
    from kubeflow.trainer.options import Name

    shutil.copytree(ROOT / "components", place / "code" / "components", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "profile").write_text("PATH=/opt/srlm/bin:$PATH\n")  # the SDK's login shell forgets the image's
    subprocess.run(["chmod", "-R", "a+rwX", place], check=True)  # the image's user is not this one
    inside = request.model_dump_json().replace(request.root, "/workspace/store")
    environment = {"PYTHONPATH": "/workspace/code", "BASH_ENV": "/workspace/profile", "SRLM_HOME": "/tmp/srlm"}
    trainer = CustomTrainer(worker, {"request": inside}, image=TRAINER, num_nodes=2, env=environment)
    client.train(trainer=trainer, options=[Name(name)])
    try:
        client.wait_for_job_status(name, timeout=300)
    finally:
        print(*client.get_job_logs(name), sep="\n")
        client.delete_job(name)
    return request


@pytest.mark.parametrize("training", ["sft", "dpo"])
def test_two_nodes_have_the_curve_and_the_weights_of_one(
    containers: Any, alone: Toy, tmp_path: Path, training: str
) -> None:
    """Equal global batches: losses agree to 1e-4, weights to 1e-3; two other processors' sums round otherwise."""
    name = f"srlm-test-{training}-{tmp_path.stat().st_ino}"
    place = tmp_path / "kubeflow" / ".kubeflow" / "trainer" / "containers" / name
    shared = Toy(place)
    ask = {"sft": lambda toy: toy.sft(sharding="fsdp"), "dpo": lambda toy: toy.dpo(lora=LORA)}[training]
    ask(alone).make()
    made = on_two_nodes(containers, ask(shared).on(2), place, name)
    assert find_manifest(made.stage().uri)
    difference = furthest(ask(alone), made)
    assert difference["loss"] < 1e-4
    assert difference["weights"] < 1e-3
