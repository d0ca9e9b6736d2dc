"""What a recipe's `cluster` names and the namespace does not have, with the command that makes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.settings import ClusterSettings
from pipelines.cluster.named_objects import check_named_objects
from pipelines.local.doctor import Finding

ASKED = ClusterSettings.model_validate(
    {
        "image_pull_secrets": ["registry"],
        "model_cache": "models",
        "queue": "gpus",
        "environment": {
            "config_maps": {"proxy": ["HTTPS_PROXY", "NO_PROXY"]},
            "secrets": {"mlflow": ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"]},
            "ca_bundle": {"config_map": "authorities"},
        },
    }
)
WHOLE: dict[tuple[str, str], dict[str, str]] = {
    ("service_account", "srlm"): {},
    ("config_map", "srlm"): {},
    ("secret", "srlm"): {},
    ("config_map", "proxy"): {"HTTPS_PROXY": "", "NO_PROXY": ""},
    ("secret", "mlflow"): {"MLFLOW_TRACKING_USERNAME": "", "MLFLOW_TRACKING_PASSWORD": ""},
    ("config_map", "authorities"): {"ca.crt": ""},
    ("secret", "registry"): {".dockerconfigjson": ""},
    ("persistent_volume_claim", "models"): {},
    ("localqueues", "gpus"): {},
}


def namespace_with(objects: dict[tuple[str, str], dict[str, str]], status: int = 404) -> Cluster:
    """An API server that has these, and answers with a status for all others."""

    def get(kind: str, name: str) -> Any:
        if (kind, name) not in objects:
            raise ClusterError("no", "", status)
        return SimpleNamespace(data=objects[kind, name])

    kinds = {kind for kind, _ in WHOLE}
    reads = {
        f"read_namespaced_{kind}": lambda name, namespace, kind=kind: get(kind, name)
        for kind in kinds - {"localqueues"}
    }
    custom = SimpleNamespace(get_namespaced_custom_object=lambda *at: get(at[3], at[4]))
    return cast("Cluster", SimpleNamespace(namespace="team", core=SimpleNamespace(**reads), custom=custom))


def found(objects: dict[tuple[str, str], dict[str, str]], status: int = 404) -> list[Finding]:
    return list(check_named_objects(namespace_with(objects, status), ASKED))


def test_all_that_is_named_is_there() -> None:
    assert [one.state for one in found(WHOLE)] == ["ok"] * len(WHOLE)


@pytest.mark.parametrize("lost", [named for named in WHOLE if named != ("secret", "srlm")])
def test_each_that_is_not_there_is_broken_with_a_remedy(lost: tuple[str, str]) -> None:
    """The keys of the store alone may be missing: a workload identity needs none."""
    states = {one.text: one for one in found({named: keys for named, keys in WHOLE.items() if named != lost})}
    broken = [one for one in states.values() if one.state == "broken"]
    assert len(broken) == 1 and lost[1] in broken[0].text and broken[0].remedy
    if "kubectl" in broken[0].remedy:
        assert "-n team" in broken[0].remedy and lost[1] in broken[0].remedy


@pytest.mark.parametrize(
    ("named", "key"), [(named, key) for named, keys in WHOLE.items() for key in keys], ids=lambda value: str(value)
)
def test_each_key_that_is_not_there_is_named(named: tuple[str, str], key: str) -> None:
    held = WHOLE | {named: {other: "" for other in WHOLE[named] if other != key}}
    (broken,) = [one for one in found(held) if one.state == "broken"]
    assert (
        key in broken.text
        and key in broken.remedy
        and f"patch {named[0].replace('_', '')} {named[1]}" in (broken.remedy)
    )


def test_what_may_not_be_read_is_not_called_missing() -> None:
    assert {one.state for one in found({}, 403)} == {"unknown"}
