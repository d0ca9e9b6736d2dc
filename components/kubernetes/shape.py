"""What a pod of one kind has beside what a run gives it: fields of a pod as Kubernetes names them (issue 14)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from components.core.settings import Settings

Kind = Literal["step", "importer", "trainer", "server", "job"]
_OWN_LABELS = ("self-rewarding-pipelines/", "app.kubernetes.io/")  # what is found and removed by them
# By the name that a pod's spec has them under. What runs in it, as whom and how often is the run's own matter.
SPEC: dict[str, type] = {
    "affinity": dict,
    "dnsConfig": dict,
    "dnsPolicy": str,
    "hostAliases": list,
    "hostUsers": bool,
    "imagePullSecrets": list,
    "nodeSelector": dict,
    "preemptionPolicy": str,
    "priorityClassName": str,
    "resourceClaims": list,
    "runtimeClassName": str,
    "schedulerName": str,
    "schedulingGates": list,
    "securityContext": dict,
    "terminationGracePeriodSeconds": int,
    "tolerations": list,
    "topologySpreadConstraints": list,
    "volumes": list,
}
CONTAINER: dict[str, type] = {"env": list, "resources": dict, "securityContext": dict, "volumeMounts": list}
NAMED = {"env": ("name",), "imagePullSecrets": ("name",), "volumes": ("name",), "volumeMounts": ("name", "mountPath")}
# What Kubeflow Trainer's patches of its runtimes take (PodSpecPatch); the rest belongs into the runtime itself.
OF_NODES = frozenset(
    {"affinity", "imagePullSecrets", "nodeSelector", "schedulingGates", "securityContext", "tolerations", "volumes"}
)
# What kfp-kubernetes 2.17 can tell Kubeflow Pipelines of a step.
OF_STEPS = frozenset({"affinity", "imagePullSecrets", "nodeSelector", "securityContext", "tolerations", "volumes"})
STEP_USER = {"runAsUser": "run_as_user", "runAsGroup": "run_as_group"}
REMOVED = "null"  # what stands for null
STEP_VOLUMES = frozenset({"persistentVolumeClaim", "secret", "configMap", "emptyDir", "ephemeral"})


class PodShape(Settings):
    """Merged into the pod: sections grow, lists get what is added (an entry of the same name takes its place), null
    removes. `container` is the one that works, beside which there may be others that prepare or watch."""

    labels: dict[str, str] = Field(default_factory=dict, description="more labels of the pod")
    annotations: dict[str, str] = Field(default_factory=dict, description="more annotations of the pod")
    spec: dict[str, Any] = Field(default_factory=dict, description="fields of a pod's spec")
    container: dict[str, Any] = Field(
        default_factory=dict, description="env, volumeMounts, securityContext, claims of resources"
    )

    @field_validator("spec", "container", mode="before")
    @classmethod
    def _nulls_in_words(cls, value: Any) -> Any:
        """Kubeflow Pipelines takes no null in what its steps are given."""
        if isinstance(value, dict):
            return {name: REMOVED if one is None else cls._nulls_in_words(one) for name, one in value.items()}
        return value

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        for section, known in (("spec", SPEC), ("container", CONTAINER)):
            for name, value in getattr(self, section).items():
                if name not in known:
                    raise ValueError(f"{section}.{name} cannot be set; what can are {', '.join(known)}")
                if not isinstance(value, known[name]) and (value != REMOVED or known[name] in (dict, list)):
                    raise ValueError(f"{section}.{name} is {value!r}, and not of the form that a pod has it in")
                for entry in value if isinstance(value, list) else ():
                    if lacking := [key for key in NAMED.get(name, ()) if key not in dict(entry)]:
                        raise ValueError(f"{section}.{name}: {entry!r} has no {lacking[0]}")
        if amounts := sorted(set(self.container.get("resources") or ()) - {"claims"}):
            raise ValueError(f"container.resources.{amounts[0]}: amounts are said in cluster.steps and `resources`")
        if ours := [name for name in self.labels if name.startswith(_OWN_LABELS)]:
            raise ValueError(f"labels.{ours[0]} is the run's own: it finds its pods by it")
        return self

    def beyond_steps(self) -> Iterator[str]:
        """What a step of Kubeflow Pipelines cannot be given."""
        yield from (f"spec.{name}" for name in self.spec if name not in OF_STEPS)
        yield from (f"container.{name}" for name in self.container if name not in ("env", "volumeMounts"))
        yield from (f"spec.affinity.{name}" for name in self.spec.get("affinity") or () if name != "nodeAffinity")
        user = {name: one for name, one in (self.spec.get("securityContext") or {}).items() if one != REMOVED}
        yield from (f"spec.securityContext.{name}" for name in user if name not in STEP_USER)
        volumes = {volume.get("name"): set(volume) - {"name"} for volume in self.spec.get("volumes") or ()}
        yield from (f"spec.volumes ({', '.join(kind)})" for kind in volumes.values() if not kind <= STEP_VOLUMES)
        for mount in self.container.get("volumeMounts") or ():
            if mount.get("name") not in volumes:
                yield f"container.volumeMounts.{mount.get('name')} without a volume of that name"
        for one in self.container.get("env") or ():
            if "value" not in one:
                yield f"container.env.{one.get('name')} with valueFrom (cluster.environment takes it)"

    def beyond_nodes(self) -> Iterator[str]:
        """What a node of a TrainJob cannot be given."""
        yield from (f"spec.{name}" for name in self.spec if name not in OF_NODES)
        if self.container.get("resources"):
            yield "container.resources"


def merged(value: Any, patch: Any) -> Any:
    """`value` with a patch: as a JSON merge patch (RFC 7386), but lists keep what they have, except for entries that
    the patch has by the same path or name."""
    if isinstance(patch, Mapping):
        before = value if isinstance(value, Mapping) else {}
        after = {**before, **{name: merged(before.get(name), one) for name, one in patch.items()}}
        return {name: one for name, one in after.items() if one is not None and one != REMOVED}
    if isinstance(patch, list) and isinstance(value, list):
        named = {_identity(one) for one in patch} - {None}
        return [*(one for one in value if _identity(one) not in named), *patch]
    return patch


def _identity(entry: Any) -> Any:
    """A mount's is its path: one volume may be mounted twice."""
    return (entry.get("mountPath") or entry.get("name")) if isinstance(entry, Mapping) else None


def shaped(shapes: Mapping[Kind, PodShape], kind: Kind, template: dict[str, Any]) -> dict[str, Any]:
    """A pod's template ("metadata", "spec") as the recipe's `cluster.pods` shapes its kind."""
    shape = shapes.get(kind)
    if not shape:
        return template
    metadata = {name: one for name, one in (("labels", shape.labels), ("annotations", shape.annotations)) if one}
    spec = merged(template["spec"], shape.spec)
    working = [merged(one, shape.container) for one in spec["containers"]]
    return {**template, "metadata": merged(template.get("metadata"), metadata), "spec": {**spec, "containers": working}}
