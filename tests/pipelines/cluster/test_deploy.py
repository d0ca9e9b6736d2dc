"""`srlm deploy`: what the registry and the model's recipe say becomes objects of a cluster, which follow an alias."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from components.core.errors import UserError
from components.core.journal import write_journal
from components.kubernetes.client import Cluster, connect
from components.registry.references import ModelReference
from components.serving.kubernetes.deployed import KIND, KSERVE_KIND, model_of
from pipelines.cli.deploy import commands
from pipelines.cluster import deploy
from pipelines.cluster.deploy import DeployRequest, deployed_model, follow_once, undeploy
from pipelines.recipe import load_recipe
from tests.helpers.chart import pick
from tests.helpers.scripted_cluster import serving

CHAMPION = "models:/demo@champion"
IMAGES = {"SRLM_WORKER_IMAGE": "registry/worker:1", "SRLM_VLLM_IMAGE": "registry/vllm:1"}


class Namespace:
    """An API server that keeps what is applied, by path; `refused` are words of paths that nobody may use."""

    def __init__(self) -> None:
        config = {"kind": "ConfigMap", "metadata": {"name": "srlm"}, "data": IMAGES}
        self.objects: dict[str, dict[str, Any]] = {"/api/v1/namespaces/runs/configmaps/srlm": config}
        self.refused: dict[str, int] = {}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        status = next((status for word, status in self.refused.items() if word in path), 0)
        if status or (path not in self.objects and "force" not in query):
            return status or 404, {"message": "it is not there"}
        if method == "DELETE":
            return 200, self.objects.pop(path)
        if method == "PATCH":
            self.objects[path] = body if "force" in query else _merged(self.objects[path], body)
        return 200, self.objects[path]

    @property
    def kinds(self) -> set[str]:
        return {f"{one['kind']}/{one['metadata']['name']}" for one in self.objects.values()} - {"ConfigMap/srlm"}


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    return {**target, **{name: _merged(target.get(name, {}), value) for name, value in patch.items()}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    monkeypatch.setattr(deploy, "wait_until_ready", lambda cluster, model: None)
    made = Namespace()
    with serving(made, tmp_path / "kubeconfig", monkeypatch):
        yield made


@pytest.fixture
def cluster(api: Namespace) -> Cluster:
    return connect()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Digests by reference. The run that made the models left its recipe in the store."""
    digests = {CHAMPION: "a" * 64, "models:/demo/3": "c" * 64}
    overrides = ("serving.replicas=2", "serving.pod.memory=3Gi", "cluster.queue=team")
    write_journal(str(tmp_path), "run-1", "recipe", "recipe", load_recipe("demo", overrides).to_dict())
    monkeypatch.setattr("pipelines.recipe.read_journal", _of(str(tmp_path)))

    def resolve(tracking_uri: str, reference: str) -> ModelReference:
        digest = digests[reference]
        return ModelReference(reference, f"s3://bucket/runs/dpo/{digest[:16]}", "demo", "run-1", digest)

    monkeypatch.setattr(deploy, "resolve", resolve)
    monkeypatch.setattr(deploy, "find_manifest", lambda uri: SimpleNamespace(size=16 * 2**30))
    return digests


def _of(folder: str) -> Any:
    from components.core.journal import read_journal

    def read(root: str, run: str, kind: str) -> list[dict[str, Any]]:
        assert root == "s3://bucket/runs"  # the store that the model's stage lies in
        return read_journal(folder, run, kind)

    return read


def srlm(*arguments: str) -> str:
    done = CliRunner().invoke(commands, [*arguments, "--tracking-uri=http://mlflow"])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_it_is_deployed_as_the_recipe_says_that_made_it(api: Namespace, registry: dict[str, str]) -> None:
    shown = srlm("deploy", CHAMPION, "--set=serving.pod.memory=5Gi")
    assert "http://model-demo.runs.svc:8080/v1/chat/completions; it follows models:/demo@champion" in shown
    followed = {f"{kind}/follow-demo" for kind in ("ServiceAccount", "Role", "RoleBinding", "Deployment")}
    assert api.kinds == {"Service/model-demo", "Deployment/model-demo"} | followed
    made = pick(list(api.objects.values()), KIND, "model-demo")
    assert made["spec"]["replicas"] == 2
    assert model_of(made) == ("s3://bucket/runs/dpo/" + "a" * 16, "a" * 64)
    spec = made["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["requests"]["memory"] == "5Gi"
    assert spec["volumes"][0] == {"name": "models", "emptyDir": {"sizeLimit": "22Gi"}}  # 16 GiB, a tenth and 4 more
    assert (spec["initContainers"][0]["image"], spec["containers"][0]["image"]) == (
        "registry/worker:1",
        "registry/vllm:1",
    )


def test_manifests_touch_nothing(registry: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    printed = list(yaml.safe_load_all(srlm("deploy", CHAMPION, "--manifests", "-n", "prod")))
    assert {one["metadata"]["namespace"] for one in printed} == {"prod"} and len(printed) == 6
    version = list(yaml.safe_load_all(srlm("deploy", "models:/demo/3", "--manifests")))
    assert [one["kind"] for one in version] == ["Service", "Deployment"]
    with pytest.raises(UserError, match="what follows an alias gets rights in a namespace"):
        srlm("deploy", CHAMPION, "--manifests")


@pytest.mark.parametrize("kind", [KIND, KSERVE_KIND])
def test_it_moves_with_its_alias_there_and_back(
    api: Namespace, cluster: Cluster, registry: dict[str, str], kind: str
) -> None:
    srlm("deploy", CHAMPION, *(["--kserve"] if kind == KSERVE_KIND else []))
    name = "model-demo"
    before = pick(list(api.objects.values()), kind, name)
    assert "starting" in follow_once(cluster, "", CHAMPION, kind)
    assert pick(list(api.objects.values()), kind, name) == before
    for digest in ("b" * 64, "a" * 64):
        registry[CHAMPION] = digest
        assert f"is {digest[:12]} now" in follow_once(cluster, "", CHAMPION, kind)
        assert model_of(pick(list(api.objects.values()), kind, name)) == (
            f"s3://bucket/runs/dpo/{digest[:16]}",
            digest,
        )
    assert pick(list(api.objects.values()), kind, name) == before


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}], "served"),
        ([{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}], "starting"),
        ([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}], "ProgressDeadline"),
        ([{"type": "Ready", "status": "True"}], "served"),
        ([{"type": "Ready", "status": "False", "message": "no node"}], "no node.*what was served before still is"),
    ],
)
def test_what_follows_says_how_it_stands(
    api: Namespace, cluster: Cluster, registry: dict[str, str], conditions: list[dict[str, str]], words: str
) -> None:
    srlm("deploy", CHAMPION)
    path = "/apis/apps/v1/namespaces/runs/deployments/model-demo"
    api.objects[path]["status"] = {"conditions": conditions}
    assert re.search(words, follow_once(cluster, "", CHAMPION, KIND))


def test_what_goes_wrong_while_it_follows_is_said_once_and_tried_again(
    api: Namespace,
    cluster: Cluster,
    registry: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    srlm("deploy", CHAMPION)
    answers = iter([500, 500, 0, 0])

    class EnoughError(Exception):
        pass

    def sleep(seconds: float) -> None:
        status = next(answers, None)
        if status is None:
            raise EnoughError
        api.refused = {"deployments": status} if status else {}

    monkeypatch.setattr(deploy.time, "sleep", sleep)
    registry[CHAMPION] = "b" * 64
    with pytest.raises(EnoughError):
        deploy.follow(cluster, "", CHAMPION, kserve=False)
    said = capsys.readouterr()
    assert (said.out + said.err).count("it is not there") == 1
    assert model_of(pick(list(api.objects.values()), KIND, "model-demo"))[1] == "b" * 64


def test_a_version_ends_the_following(api: Namespace, registry: dict[str, str]) -> None:
    srlm("deploy", CHAMPION)
    assert "it follows no alias" in srlm("deploy", "models:/demo/3")
    assert api.kinds == {"Service/model-demo", "Deployment/model-demo"}
    assert model_of(pick(list(api.objects.values()), KIND, "model-demo"))[1] == "c" * 64


@pytest.mark.parametrize("options", [[], ["--kserve"]])
def test_undeploy_leaves_nothing(
    api: Namespace, cluster: Cluster, registry: dict[str, str], options: list[str]
) -> None:
    srlm("deploy", CHAMPION, *options)
    kind = KSERVE_KIND if options else KIND
    assert undeploy(cluster, "demo")[-1] == f"{kind} model-demo"
    assert api.kinds == set()
    assert undeploy(cluster, "demo") == []


def test_it_is_deployed_in_one_form_at_a_time(api: Namespace, registry: dict[str, str]) -> None:
    srlm("deploy", CHAMPION)
    with pytest.raises(UserError, match="demo is deployed as Deployment model-demo already"):
        srlm("deploy", CHAMPION, "--kserve")


def test_who_may_not_ask_for_kserve_deploys_without_it(api: Namespace, registry: dict[str, str]) -> None:
    api.refused = {"inferenceservices": 403}
    srlm("deploy", CHAMPION)
    assert "Deployment/model-demo" in api.kinds


def test_without_kserve_its_form_is_refused(api: Namespace, registry: dict[str, str]) -> None:
    api.refused = {"inferenceservices": 404}
    with pytest.raises(UserError, match="the cluster knows no InferenceService"):
        srlm("deploy", CHAMPION, "--kserve")
    assert api.kinds == set()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"engine": "embedded"}, "the engine 'embedded' serves nothing on a cluster"),
        ({"canary": 10}, "shares of traffic are KServe's"),
    ],
)
def test_what_cannot_be_deployed(
    cluster: Cluster, registry: dict[str, str], fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        deployed_model(DeployRequest(CHAMPION, **fields), "", "runs", cluster)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ModelReference("s3://b/dpo/1", "s3://b/dpo/1"), "is not in the registry"),
        (ModelReference(CHAMPION, "/a/folder/dpo/1", "demo", "run-1", "d"), "cannot fetch /a/folder"),
    ],
)
def test_a_model_that_no_pod_can_fetch(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, model: ModelReference, words: str
) -> None:
    monkeypatch.setattr(deploy, "resolve", lambda tracking_uri, reference: model)
    with pytest.raises(UserError, match=words):
        deployed_model(DeployRequest(model.label), "", "runs", cluster)
