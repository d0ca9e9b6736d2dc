"""docs/rights.md, of what the chart makes with everything in it: `python -m tests.helpers.rights > docs/rights.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from components.kubernetes.pods import FROM_SECRET
from pipelines.cluster.permissions import REAPER, RUN, TRAINING, Permission
from pipelines.graph.size import tasks
from tests.helpers.chart import CHART, containers, pod_specs, rendered
from tests.helpers.paths import ROOT

EVERYTHING = CHART / "ci" / "everything-values.yaml"
ACCOUNTS = {"srlm": (*RUN, *TRAINING), "srlm-reaper": REAPER}
OURS, STEP = "pods of ours (`app.kubernetes.io/name: self-rewarding`)", "steps of Kubeflow Pipelines"
# Who has to reach what inside the namespace, by the component in its labels.
FLOWS = (
    (OURS, "store", 8333, "records and weights"),
    (STEP, "store", 8333, "records and weights"),
    (OURS, "mlflow", 5000, "registry: the Jobs of runs, the nightly comparison, the chart's test"),
    (STEP, "mlflow", 5000, "registry"),
    (OURS, "model-server", 8080, "questions to a model that is served"),
    (STEP, "model-server", 8080, "questions to a model that is served"),
    (OURS, "model-server", 8081, "adapters for vLLM (`serving.adapter_rank`)"),
    (STEP, "model-server", 8081, "adapters for vLLM (`serving.adapter_rank`)"),
    (OURS, "judge", 8080, "questions to the judge"),
    (STEP, "judge", 8080, "questions to the judge"),
)
PAGE = """# Rights: what each pod may do, reach and know

Made from the chart with everything switched on (`python -m tests.helpers.rights > docs/rights.md`); tests compare it
with the chart's Roles, and with what `kubectl auth can-i --list` says on a real cluster.

Every pod is admitted by Pod Security "restricted", has a read-only root, no capability, and user 65532 unless the
values say another. No account may read a Secret by the API, and there is no ClusterRole.

## What accounts may do in the namespace

{accounts}

All else is refused. Model servers, judge, store and MLflow get no token at all.

## What the chart's pods know

{pods}

Pods that runs make: steps and Jobs get the config map and the secret of the recipe's `cluster` section
(`cluster.config_map`, `cluster.secret`), the model's own server none of `cluster.environment.secrets`. Of that secret
every step gets the keys of the store and `HF_TOKEN`, and of the endpoints those that it may ask. In `llama3-8b`:

{keys}

## Who may reach what (`networkPolicy.enabled`)

{flows}

Nothing else comes in at these pods; `networkPolicy.extraFrom` adds peers. The store's other ports ask for no key, so
its policy is always there. What goes out is not limited: the Kubernetes API, DNS, an S3, an MLflow or an endpoint
outside, and the Hugging Face hub for the import of the base model.
"""


def page() -> str:
    accounts = [
        (f"`{account}`", f"`{one.resource}{one.group and f'.{one.group}'}`", ", ".join(one.verbs), one.purpose)
        for account, permissions in ACCOUNTS.items()
        for one in permissions
    ]
    pods = [
        (f"`{name}`", f"`{spec['serviceAccountName']}`", "yes" if has_token(spec) else "no", secrets_of(spec) or "-")
        for name, spec in pod_specs(rendered(EVERYTHING))
    ]
    flows = [(who, f"`{what}`", str(port), purpose) for who, what, port, purpose in FLOWS]
    keys = [(", ".join(f"`{one}`" for one in titles), names or "-") for names, titles in keys_of_steps().items()]
    return PAGE.format(
        keys=table(("steps of one pod", "keys of endpoints"), keys),
        accounts=table(("account", "resource", "verbs", "what for"), accounts),
        pods=table(("pod", "account", "token for the API", "secrets, as variables"), pods),
        flows=table(("from", "to", "port", "what for"), flows),
    )


def keys_of_steps() -> dict[str, list[str]]:
    """Titles of the boxes of a shipped package by the keys of endpoints that their pods get."""
    spec, platform = yaml.safe_load_all((ROOT / "pipelines/compiled/llama3-8b.yaml").read_text())
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    found: dict[str, list[str]] = {}
    for task, component in tasks(spec, spec["root"]):
        if label := component.get("executorLabel"):
            told = [one["secretKey"] for source in pods[label]["secretAsEnv"] for one in source["keyToEnv"]]
            names = ", ".join(f"`{name}`" for name in told if name not in FROM_SECRET)
            found.setdefault(names, []).append(task["taskInfo"]["name"])
    return found


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def has_token(spec: dict[str, Any]) -> bool:
    return bool(spec.get("automountServiceAccountToken", True))


def secrets_of(spec: dict[str, Any]) -> str:
    """Names of the secrets in the environment of a pod's containers: whole, or some of their keys."""
    found: dict[str, set[str]] = {}
    for one in containers(spec):
        for source in one.get("envFrom", []):
            if "secretRef" in source:
                found.setdefault(source["secretRef"]["name"], set()).add("all of it")
        for variable in one.get("env", []):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                found.setdefault(key["name"], set()).add(f"`{key['key']}`")
    return "; ".join(f"`{name}`: {', '.join(sorted(keys))}" for name, keys in sorted(found.items()))


def rules_of(permissions: Iterable[Permission]) -> set[tuple[str, str]]:
    """Pairs of a resource as kubectl names it, `deployments.apps`, and a verb."""
    return {(f"{one.resource}{one.group and f'.{one.group}'}", verb) for one in permissions for verb in one.verbs}


if __name__ == "__main__":
    print(page(), end="")
