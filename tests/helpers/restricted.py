"""The rules of Pod Security "restricted" (Kubernetes' Pod Security Standards), and two of our own."""

from __future__ import annotations

from typing import Any

from tests.helpers.chart import containers

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def faults(spec: dict[str, Any]) -> list[str]:
    """What a pod's spec does that is not allowed; empty for a pod that is admitted."""
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {one['name']}" for one in spec.get("volumes", []) if set(one) - {"name"} - VOLUMES]
    for container in containers(spec):
        found += [f"{container['name']}: {fault}" for fault in _faults(spec.get("securityContext", {}), container)]
    return found


def _faults(pod: dict[str, Any], container: dict[str, Any]) -> list[str]:
    own = container.get("securityContext", {})
    both = {**pod, **own}
    rules = {
        "may be root": both.get("runAsNonRoot") is True,
        "is not user 65532": both.get("runAsUser") == 65532,  # ours: as in images/Dockerfile
        "has no seccomp profile": both.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
        "may escalate": own.get("allowPrivilegeEscalation") is False,
        "is privileged": not own.get("privileged"),
        "keeps capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "uses ports of the node": not any("hostPort" in port for port in container.get("ports", [])),
        "writes to its root": own.get("readOnlyRootFilesystem") is True,  # ours
    }
    return [rule for rule, held in rules.items() if not held]
