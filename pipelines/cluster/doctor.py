"""`srlm doctor`: every part that a run needs, one line each, with what to do about those that are broken."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from components.core.errors import UserError
from components.core.images import ENGINE, TRAINER, WORKER
from components.core.store import Store, join, open_store
from components.core.store_check import check_store
from components.kubernetes.client import Cluster, ClusterError, connect, in_a_pod
from components.kubernetes.removal import TRAIN_JOBS
from components.kubernetes.settings import ClusterSettings
from components.registry.client import check_tracking
from components.serving.address import Address
from pipelines.cluster.kubeflow import ENDPOINT, NoKubeflowError, kfp_client
from pipelines.cluster.named_objects import CHART, check_named_objects
from pipelines.cluster.permissions import PERSON, PERSON_TRAINING, RUN, TRAINING, missing_of, own_missing
from pipelines.local.doctor import Finding, broken, check_machine, check_server, ok, unknown

ON_CLUSTER = ("cluster", "permissions", "gpus", "trainer", "images")


@dataclass
class Doctor:
    """What to check; empty addresses are not checked. `pull` starts a pod of every image; an `endpoint` is examined
    alone, unless other checks are named."""

    namespace: str = ""
    store: str = ""
    tracking_uri: str = ""
    host: str = ""
    pull: bool = False
    endpoint: Address | None = None
    settings: ClusterSettings = field(default_factory=ClusterSettings)

    @cached_property
    def cluster(self) -> Cluster:
        return connect(self.namespace)

    def examine(self, only: list[str]) -> Iterator[tuple[str, Finding]]:
        """The checks by name, in order. Raises UserError for a name that is none."""
        if strange := sorted(set(only) - set(CHECKS)):
            raise UserError(f"there is no check {', '.join(strange)}", f"The checks are {', '.join(CHECKS)}.")
        if self.endpoint and not only:
            only = ["endpoint"]
        without_cluster = not only and not self._has_cluster()
        if not only:  # with a cluster this machine needs little; without one there is nothing to query
            left_out = ("endpoint", *(ON_CLUSTER if without_cluster else ("machine",)))
            only = [name for name in CHECKS if name not in left_out]
        for name in only:
            try:
                for finding in CHECKS[name](self):
                    yield name, finding
            except UserError as error:
                yield name, broken(error.problem, error.remedy)
        if without_cluster:
            text = "no cluster is configured here, which a local run does not need"
            yield "cluster", unknown(text, "Set KUBECONFIG.")

    def _has_cluster(self) -> bool:
        try:
            return bool(self.cluster)
        except UserError:
            return False

    def _check_endpoint(self) -> Iterator[Finding]:
        if not self.endpoint:
            yield unknown("no endpoint is given", "Give it with --endpoint URL.")
            return
        yield from check_server(self.endpoint)

    def _check_cluster(self) -> Iterator[Finding]:
        from kubernetes.client import VersionApi

        version = VersionApi(self.cluster.api).get_code()
        yield ok(f"Kubernetes {version.git_version} answers; the namespace is {self.cluster.namespace}")
        yield from check_named_objects(self.cluster, self.settings)

    def _check_permissions(self) -> Iterator[Finding]:
        """In a pod those of a run; outside those of a person, and those of the runs' account."""
        if in_a_pod():
            yield from _permitted("this pod", own_missing(self.cluster, RUN))
            return
        yield from _permitted("you", own_missing(self.cluster, PERSON))
        account = self.settings.service_account
        try:
            yield from _permitted(f"the service account {account}", missing_of(self.cluster, account, RUN))
        except ClusterError as error:
            if error.status != 403:
                raise
            yield unknown(f"what the service account {account} may do, you may not ask", "Run srlm doctor in its pod.")

    def _check_store(self) -> Iterator[Finding]:
        if not self.store:
            yield unknown("no store is named", "Set SRLM_STORE or --store; srlm run starts one of its own without.")
            return
        yield try_store(open_store(join(self.store, "doctor", uuid.uuid4().hex)))

    def _check_registry(self) -> Iterator[Finding]:
        if not self.tracking_uri:
            yield unknown("no MLflow is named", "Set SRLM_TRACKING_URI; srlm run starts one of its own without.")
            return
        check_tracking(self.tracking_uri)
        yield ok(f"MLflow at {self.tracking_uri} answers")

    def _check_kubeflow(self) -> Iterator[Finding]:
        try:
            with kfp_client(self.host, self.namespace) as client:
                users = "several users" if client.get_kfp_healthz().multi_user else "one user"
                client.list_runs(page_size=1)
        except NoKubeflowError:
            yield unknown("no Kubeflow Pipelines is named", f"Set {ENDPOINT}; srlm manifests --runner job needs none.")
            return
        yield ok(f"Kubeflow Pipelines answers ({users}), and runs may be listed")

    def _check_gpus(self) -> Iterator[Finding]:
        try:
            nodes = self.cluster.core.list_node().items
        except ClusterError as error:
            if error.status != 403:
                raise
            yield unknown("which GPUs the nodes have may not be asked", "kubectl describe nodes, as an administrator.")
            return
        counts: dict[str, int] = {}
        for node in nodes:
            for resource, amount in (node.status.allocatable or {}).items():
                if "gpu" in resource and amount.isdigit() and int(amount):
                    counts[resource] = counts.get(resource, 0) + int(amount)
        if counts:
            listed = ", ".join(f"{count} {resource}" for resource, count in sorted(counts.items()))
            yield ok(f"{len(nodes)} nodes with {listed}")
        else:
            remedy = "Serve with --engine transformers, or install the device plugin."
            yield unknown(f"none of {len(nodes)} nodes has a GPU", remedy)

    def _check_trainer(self) -> Iterator[Finding]:
        """Runtimes are there for the whole cluster or for a namespace; one of the name is enough."""
        name, custom, namespace = self.settings.training_runtime, self.cluster.custom, self.cluster.namespace
        group, version, plural = TRAIN_JOBS
        status = _status(custom.list_namespaced_custom_object, group, version, namespace, plural, limit=1)
        if status != 200:
            problem = "is not installed" if status == 404 else "may not be asked for"
            yield unknown(f"Kubeflow Trainer {problem}", "Not needed while dpo and sft train on one node.")
            return
        in_namespace = (custom.get_namespaced_custom_object, group, version, namespace, "trainingruntimes", name)
        in_cluster = (custom.get_cluster_custom_object, group, version, "clustertrainingruntimes", name)
        if _status(*in_namespace) != 200 and _status(*in_cluster) != 200:
            yield broken(f"Kubeflow Trainer is installed, but no runtime {name} can be seen", CHART)
            return
        yield ok(f"Kubeflow Trainer is installed, and its runtime {name} is there")
        who, wanted = ("this pod", TRAINING) if in_a_pod() else ("you", PERSON_TRAINING)
        yield from _permitted(who, own_missing(self.cluster, wanted))

    def _check_images(self) -> Iterator[Finding]:
        from pipelines.cluster.image_pull import pull

        images = {"WORKER": WORKER, "TRAINER": TRAINER, "TRANSFORMERS": ENGINE}
        for name, default in images.items():
            image = os.environ.get(f"SRLM_{name}_IMAGE") or default
            if self.pull:
                yield pull(self.cluster, image, self.settings)
            else:
                yield unknown(f"whether nodes get {image} is not tested", "srlm doctor --only images --pull starts it.")


def _status(request: Callable[..., object], *arguments: Any, **named: Any) -> int:
    """HTTP's status of a request: 200, 403 (it is forbidden) or 404; raises ClusterError for any other error."""
    try:
        request(*arguments, **named)
    except ClusterError as error:
        if error.status not in (403, 404):
            raise
        return error.status
    return 200


def _permitted(who: str, missing: list[str]) -> Iterator[Finding]:
    if not missing:
        yield ok(f"{who}: everything that is needed is permitted")
    for permission in missing:
        yield broken(f"{who}: not permitted to {permission}", CHART)


def try_store(store: Store) -> Finding:
    """All that runs do with a store, on objects of its own."""
    try:
        check_store(store)
    except UserError as error:
        return broken(error.problem, error.remedy)
    return ok(f"the store {store.uri} writes, reads, lists and creates only once")


CHECKS: dict[str, Callable[[Doctor], Iterator[Finding]]] = {
    "cluster": Doctor._check_cluster,
    "permissions": Doctor._check_permissions,
    "store": Doctor._check_store,
    "registry": Doctor._check_registry,
    "kubeflow": Doctor._check_kubeflow,
    "gpus": Doctor._check_gpus,
    "trainer": Doctor._check_trainer,
    "images": Doctor._check_images,
    "machine": lambda _: check_machine(),
    "endpoint": Doctor._check_endpoint,
}
