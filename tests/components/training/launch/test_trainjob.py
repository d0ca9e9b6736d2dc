"""The TrainJob as Kubeflow Trainer's own models read it, and what happens to one, in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from components.core.errors import UserError
from components.kubernetes.settings import ClusterSettings, TrainingPods
from components.kubernetes.shape import PodShape
from components.training.launch.follow import outcome
from components.training.launch.logs import Log
from components.training.launch.request import PROBLEM, TORCHRUN, WORKER, TrainingRequest
from components.training.launch.trainjob import TrainJob, manifest

PODS = TrainingPods(
    nodes=2,
    gpus=8,
    cpu="16",
    memory="200Gi",
    disk="2Ti",
    shared_memory="16Gi",
    node_selector={"gpu": "h100"},
    tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}],
)
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "step", "uid": "1"}


class FinishedStage:
    """Stands for the stage of a request whose inputs are not there."""

    key = "0123456789abcdef"


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> TrainJob:
    monkeypatch.setattr(TrainingRequest, "stage", lambda self: FinishedStage())
    request = TrainingRequest(kind="dpo", root="s3://bucket/runs", settings={"beta": 0.1}, inputs={}, processes=16)
    cluster = ClusterSettings(queue="training", image_pull_secrets=["registry"])
    return TrainJob(request, PODS, cluster, "trainer:1", "llama3-8b-20260101-120000-abcdef", "m2")


@pytest.mark.parametrize("pods", [PODS, TrainingPods(nodes=2)], ids=["everything", "bare"])
def test_kubeflows_models_know_every_field(job: TrainJob, pods: TrainingPods) -> None:
    """They drop what they do not know, so a manifest that comes back whole holds nothing unknown."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    made = manifest(replace(job, pods=pods), "TrainingRuntime", OWNER)
    assert without_empty(models.TrainerV1alpha1TrainJob.from_dict(made).to_dict()) == without_empty(made)
    made["spec"]["trainer"]["numNode"] = 2
    assert without_empty(models.TrainerV1alpha1TrainJob.from_dict(made).to_dict()) != without_empty(made)


def test_istio_puts_no_proxy_between_nodes_unless_the_recipe_says_so(job: TrainJob) -> None:
    """The nodes of a training meet at a port that no Service names, and a Job does not end beside a proxy."""
    wanted = {"trainer": PodShape(labels={"sidecar.istio.io/inject": "true"})}
    shaped = replace(job, cluster=job.cluster.model_copy(update={"pods": wanted}))
    for one, injected in ((job, "false"), (shaped, "true")):
        (patch,) = manifest(one, "TrainingRuntime")["spec"]["runtimePatches"]
        (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        labels = node["template"]["spec"]["template"]["metadata"]["labels"]
        assert labels["sidecar.istio.io/inject"] == injected


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_empty(one) for name, one in value.items() if one not in ({}, [], None)}
    return [without_empty(one) for one in value] if isinstance(value, list) else value


def test_the_workers_are_told_what_to_make_and_how_many_they_are(job: TrainJob) -> None:
    trainer = manifest(job, "TrainingRuntime")["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert TrainingRequest.model_validate_json(trainer["args"][-1]) == job.request
    assert trainer["command"] == ["python3", "-m", TORCHRUN]  # accelerate launch would run one process, alone
    assert trainer["args"][:2] == ["-m", WORKER]


def test_no_autoscaler_moves_its_pods(job: TrainJob) -> None:
    patch = manifest(job, "TrainingRuntime")["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]
    pod = patch["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert pod["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }


def test_the_disk_that_checkpoints_take_is_asked_for(job: TrainJob) -> None:
    """And is the limit of the volume and the pod: what takes more would take another pod's."""
    asked = manifest(job, "TrainingRuntime")["spec"]["trainer"]["resourcesPerNode"]
    assert asked["requests"]["ephemeral-storage"] == "2Ti"
    assert asked["limits"] == {"cpu": "16", "memory": "200Gi", "ephemeral-storage": "2Ti", "nvidia.com/gpu": "8"}


def test_secrets_are_named_and_not_copied(job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    text = json.dumps(manifest(job, "TrainingRuntime"))
    assert "planted" not in text
    assert '"secretKeyRef": {"name": "srlm", "key": "AWS_SECRET_ACCESS_KEY", "optional": true}' in text


def test_a_step_that_starts_again_finds_its_job_and_another_run_does_not(job: TrainJob) -> None:
    """The name is a DNS label that run, work and model decide."""
    assert replace(job, pods=TrainingPods(nodes=4)).name == job.name
    assert (
        len({job.name, replace(job, run="llama3-8b-20260101-120000-abcdee").name, replace(job, model="m3").name}) == 3
    )
    assert len(job.name) <= 63 - len("-node-0-0")  # JobSet's pods carry it in their names


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], None),
        ([{"type": "Suspended", "status": "True"}], None),
        ([{"type": "Failed", "status": "False"}], None),
        ([{"type": "Complete", "status": "True"}], ""),
        ([{"type": "Failed", "status": "True", "reason": "PodFailed", "message": "node-0"}], "PodFailed: node-0"),
    ],
)
def test_the_end_of_a_job(conditions: list[dict[str, str]], expected: str | None) -> None:
    assert outcome({"status": {"conditions": conditions}}) == expected
    assert outcome(None) == "somebody removed it"


def test_a_workers_own_message_comes_before_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.follow(["step 1\n"], prefix="node-0: ")
    assert "node-0: step 1" in str(log.error("it failed"))
    log.follow([f'{PROBLEM}{{"problem": "too few pairs", "remedy": "Make more."}}\n'])
    with pytest.raises(UserError, match="too few pairs"):
        raise log.error("it failed")
    assert capsys.readouterr().err == "node-0: step 1\n"


@pytest.mark.parametrize(
    "before", ["", "3/10 pairs", f'{PROBLEM}{{"problem": "too few pairs", "remedy": "Make more."}}'], ids=repr
)
def test_lines_of_several_processes_that_ran_into_each_other(before: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Processes share one pipe: a message may follow another process's line without a line's end between them."""
    log = Log()
    log.follow([f'{before}{PROBLEM}{{"problem": "too few pairs", "remedy": "Make more."}}\n', "\n"])
    assert str(log.error("it failed")).startswith("too few pairs")
    assert ("3/10 pairs" in capsys.readouterr().err) == ("3/10" in before)


@pytest.mark.parametrize("message", ["[1]", '{"problem": 1}', "null", '{"problem": "a", "rem'])
def test_a_message_that_is_none_is_shown_and_steers_no_terminal(
    message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of a log may come from a text that the step trains on (issue 16): a list ended the step by a TypeError."""
    log = Log()
    log.follow([f"\x1b[2J{PROBLEM}{message}\x1b[2J\n", "\x1b[2Jstep 2\n"])
    error = log.error("it failed")
    assert "cut off" in error.problem and message in error.problem
    assert "\x1b" not in str(error) + capsys.readouterr().err
