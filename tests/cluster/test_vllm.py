"""vLLM's real server, on CPUs, as the Deployments that a run makes: what it can do, and a tiny run that it serves.

The image is made by tests/engines/Dockerfile; `make test-cluster WITH_VLLM=1` builds it and brings it to the nodes.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.store import join
from components.serving.conformance import examine
from components.serving.kubernetes.engine import KubernetesEngine
from components.serving.kubernetes.launch import PORT
from components.serving.kubernetes.manifests import server_name
from components.serving.settings import ServingSettings
from pipelines.cluster.reach import from_here
from tests.helpers.engine_servers import ON_CPU
from tests.helpers.release import Release, kubectl, nothing_serves, srlm, wait_for_end
from tests.helpers.small_world import store_small_world
from tests.helpers.tiny_model import make_tiny_model

pytestmark = [pytest.mark.cluster, pytest.mark.engines]
IMAGE = os.environ.get("SRLM_TEST_VLLM_IMAGE", "")
STORE = "s3://srlm/artifacts"
RUN = "served-by-vllm"
ARGUMENTS = shlex.split(ON_CPU)
TINY = (
    *("name=vllm-world", "rounds=1", "data.eval_prompts=10", "sft.epochs=3", "dpo.max_steps=4", "dpo.held_out=0"),
    *("prompts.count=16", "sampling.concurrency=64", "judging.samples=2", "judging.concurrency=64"),
    *("evaluation.exact_answers=null", "annotation.head_to_head=false", "instructions=null"),
    *("gate.improve={pairwise_accuracy: 0}", "gate.min_items=1000"),  # so few prove nothing, and end nothing
    *("sft.lora={rank: 4, alpha: 8}", "dpo.lora={rank: 4, alpha: 8}", "serving.adapter_rank=8"),
    *("serving.dtype=auto", f"serving.arguments={json.dumps(ARGUMENTS)}"),
)
LONGEST_RUN = 1500  # seconds


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    if not IMAGE:
        pytest.skip("SRLM_TEST_VLLM_IMAGE names no image: `make test-cluster WITH_VLLM=1` makes one")


def test_its_deployment_does_all_that_a_run_asks_for(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked through its Service."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    made = import_model(STORE, BaseModelSettings(base=str(make_tiny_model(tmp_path / "model", heads=2))))
    engine, run = KubernetesEngine("vllm", engine_image=IMAGE, _connected=release.cluster), "examined"
    try:
        engine.start(run, "m0", join(STORE, made.stage, made.key), ServingSettings(arguments=ARGUMENTS))
        with from_here(release.cluster, f"http://{server_name(run, 'm0')}:{PORT}") as url:
            lacking = [ability for ability in examine(url) if ability.state != "yes"]
    finally:
        engine.stop(run)
    assert not lacking


@pytest.fixture(scope="module")
def run(release: Release, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The log of the run, which has ended well."""
    recipe = store_small_world(tmp_path_factory.mktemp("world"), "s3://srlm/vllm-world")
    asked = ["--runner=job", f"--run={RUN}", "--engine=vllm", f"--engine-image={IMAGE}"]
    manifests = srlm("manifests", str(recipe), *asked, *(f"--set={one}" for one in TINY))
    kubectl(release.namespace, "create", "-f", "-", given=manifests)
    status = wait_for_end(release.cluster, RUN, LONGEST_RUN)
    log = kubectl(release.namespace, "logs", f"job/{RUN}")
    assert status.succeeded == 1, log
    return log


def test_a_run_whose_models_come_to_one_server(run: str, release: Release) -> None:
    """M1 answers and judges itself, M2 is what DPO made of that, and is asked in its turn: with the SFT baseline three
    adapters, of one server, whose pod stays from the first to the last. M0 has no adapter, and a server of its own.
    """
    found = MlflowClient(release.environment["SRLM_TRACKING_URI"]).get_registered_model("vllm-world").aliases
    assert {"sft", "m1", "m2"} <= set(found)
    assert all(f"serving {model} as an adapter of {STORE}/base_model/" in run for model in ("sft", "m1", "m2"))
    events = release.cluster.core.list_namespaced_event(release.namespace, field_selector="reason=Pulled").items
    pods = {event.involved_object.name for event in events if f'"{IMAGE}"' in event.message}
    of_run = sorted(pod for pod in pods if pod.startswith(server_name(RUN, "")))
    assert len(of_run) == 2 and of_run[1].startswith(f"{server_name(RUN, 'm0')}-"), of_run  # the first is "base-..."
    places = [(event.involved_object.name, event.involved_object.field_path) for event in events]
    assert [pod for pod, place in places if place == "spec.containers{adapters}"] == of_run[:1]


def test_nothing_of_it_is_left(run: str, release: Release) -> None:
    assert nothing_serves(release.cluster, RUN)
