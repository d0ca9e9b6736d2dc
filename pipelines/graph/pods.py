"""What Kubernetes is told about a step's pod, beside its image. kfp.local passes over all of it."""

from __future__ import annotations

import re
from typing import Any

from kfp import kubernetes

from components.kubernetes.objects import KEEP, QUEUE
from components.kubernetes.pods import FROM_SECRET, OF_POLICY, PLACES, from_config_map, of_node, scratch_volume
from components.kubernetes.settings import (
    AUTHORITIES,
    ClusterSettings,
    EnvironmentSettings,
    PodSettings,
    StepPods,
    number,
)
from components.kubernetes.shape import Kind
from pipelines.graph.shapes import as_kfp_names_it, mount_volume, shape_step
from pipelines.plan.disk import importer_pods, training_disk
from pipelines.recipe import Recipe

# Beside what all pods take from the config map, for those that ask the policy and so may serve it; the rest of what a
# step needs are the pipeline's parameters.
ENGINE_IMAGES = ("SRLM_TRANSFORMERS_IMAGE", "SRLM_TGI_IMAGE", "SRLM_VLLM_IMAGE")


# A pod that was lost, or could not be made for a while (a webhook starts), is tried again after 15, 30, 60 and 120 s.
# Which failures are retried is not the SDK's to say but Argo's: Kubeflow's own has `retryPolicy: OnError` as a default
# for all templates, which is pods that were deleted, and whose nodes are gone. What a step says itself (exit code 2, a
# UserError) fails at once there; stores and APIs that are away are waited for in the step. Backoff has a limit from the
# first try on, which an hour (KFP's default) would be too short for: a step may judge for days.
RETRY = {"num_retries": 4, "backoff_duration": "15s", "backoff_factor": 2.0, "backoff_max_duration": "30d"}


WORK, DISK = "/work", "ephemeral-storage"


def phase_box(task: Any, title: str) -> Any:
    """A phase as a box of the pipeline that holds it."""
    return task.set_caching_options(False).set_display_name(title)


def worker_step(
    task: Any, title: str, recipe: Recipe, image: Any, keys: tuple[str, ...] = (), kind: Kind = "step"
) -> Any:
    """A step in the worker's image; `title` is what its box says.

    `keys` are those of the endpoints that it asks beside the policy's, by their names in the secret.

    KFP's cache is off: it never checks that an output still exists; the stages find finished work by content instead.
    `kind` is that of its pod, by which `cluster.pods` shapes it.
    """
    task.set_caching_options(False).set_display_name(title).set_container_image(image).set_retry(**RETRY)
    steps = recipe.cluster.steps
    give_amounts(set_up_pod(task, recipe.cluster, keys), steps, steps)
    if keys:
        keep(task)
    return shape_step(task, recipe.cluster.pods.get(kind))


def keep(task: Any) -> Any:
    """No autoscaler moves the pod of a step that takes long; the others are over before one looks."""
    for name, value in KEEP.items():
        kubernetes.add_pod_annotation(task, name, value)
    return task


def placed_step(task: Any, title: str, recipe: Recipe, image: Any, keys: tuple[str, ...] = ()) -> Any:
    """A step that is told by the chart's config map where store and registry are, where no parameter says it."""
    worker_step(task, title, recipe, image, keys)
    places = {name: name for name in PLACES}
    return kubernetes.use_config_map_as_env(task, recipe.cluster.config_map, places, optional=True)


def import_step(task: Any, title: str, recipe: Recipe, image: Any) -> Any:
    """The step that imports models, in the trainer's image: it may read a whole one (GGUF), as training does."""
    keep(worker_step(task, title, recipe, image, kind="importer"))
    importer = importer_pods(recipe)
    return give_scratch(give_amounts(task, importer, importer), importer, recipe.cluster, "importer")


def training_step(task: Any, title: str, recipe: Recipe, image: Any, keys: tuple[str, ...] = ()) -> Any:
    """A step that trains in its own pod or, with several nodes, has a TrainJob do it and only watches."""
    keep(worker_step(task, title, recipe, image, keys, "step" if recipe.resources.nodes > 1 else "trainer"))
    if recipe.resources.nodes > 1:
        return task
    pod = recipe.resources.holding(training_disk(recipe))
    return give_scratch(give_resources(task, pod, recipe.cluster), pod, recipe.cluster, "trainer")


def set_up_pod(task: Any, cluster: ClusterSettings, keys: tuple[str, ...] = ()) -> Any:
    """What the pods of all steps have in common.

    KFP does everything that Pod Security "restricted" asks for but this: that root is refused.
    """
    kubernetes.set_security_context(task, run_as_non_root=True)
    places = (*from_config_map(cluster), *(ENGINE_IMAGES if set(OF_POLICY) <= set(keys) else ()))
    kubernetes.use_config_map_as_env(task, cluster.config_map, {name: name for name in places}, optional=True)
    kubernetes.use_secret_as_env(task, cluster.secret, {name: name for name in (*FROM_SECRET, *keys)}, optional=True)
    give_environment(task, cluster.environment)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")  # an image's tag is a version
    if cluster.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, cluster.image_pull_secrets)
    return task


def give_environment(task: Any, environment: EnvironmentSettings) -> None:
    """The variables that the recipe names, and the certificate authorities."""
    for source, names in environment.config_maps.items():
        kubernetes.use_config_map_as_env(task, source, {name: name for name in names})
    for source, names in environment.secrets.items():
        kubernetes.use_secret_as_env(task, source, {name: name for name in names})
    for name, value in environment.plain.items():
        task.set_env_variable(name, value)
    if environment.ca_bundle:
        kubernetes.use_config_map_as_volume(task, environment.ca_bundle.config_map, AUTHORITIES)


def give_amounts(task: Any, asked: StepPods, limits: StepPods) -> Any:
    """Requests and limits of CPU and memory, where there are any."""
    for give, amount in (
        (task.set_cpu_request, asked.amount("cpu")),
        (task.set_cpu_limit, limits.amount("cpu_limit")),
        (task.set_memory_request, whole(asked.amount("memory"))),
        (task.set_memory_limit, whole(limits.amount("memory_limit"))),
    ):
        if amount:
            give(amount)
    return task


def give_resources(task: Any, pod: PodSettings, cluster: ClusterSettings) -> Any:
    """What a step that trains in its own pod takes: as for servers, GPUs are request and limit."""
    give_amounts(task, pod, pod)
    if pod.gpus:
        task.set_accelerator_type(pod.gpu_type).set_accelerator_limit(pod.gpus)
    if pod.gpus or pod.shared_memory:  # processes of several GPUs meet there; a container has 64 MB by itself
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=pod.shared_memory)  # noqa: S108
    for name, value in pod.node_selector.items():
        kubernetes.add_node_selector(task, name, value)
    for toleration in pod.tolerations:
        kubernetes.add_toleration_json(task, as_kfp_names_it(toleration))
    if cluster.queue:
        kubernetes.add_pod_label(task, QUEUE, cluster.queue)
    shape = cluster.pods.get("trainer")
    for name, value in (shape.annotations if shape else {}).items():
        kubernetes.add_pod_annotation(task, name, value)
    return task


def give_scratch(task: Any, pod: StepPods, cluster: ClusterSettings, kind: Kind) -> Any:
    """The volume at /work, where our images keep models, caches and temporary files; the shape's own takes its place.

    Of ephemeral storage Kubeflow's SDK knows nothing, but its backend sets the limit of an accelerator by the name that
    it is given (2.0 to 2.17). Kubernetes takes a limit as request, too, so it is said where both are to be the same.
    """
    shape = cluster.pods.get(kind)
    if WORK not in [mount["mountPath"] for mount in (shape.container.get("volumeMounts") or () if shape else ())]:
        mount_volume(task, scratch_volume("work", pod, cluster), {"mountPath": WORK})
    limits, requests = of_node(pod, cluster).limits(), of_node(pod, cluster).requests()
    disk = limits.get(DISK)
    if disk and disk == requests.get(DISK) and not getattr(pod, "gpus", 0):
        task.set_accelerator_type(DISK).set_accelerator_limit(int(number(disk)))
    return task


def whole(quantity: str) -> str:
    """A quantity of bytes as KFP reads it: it knows no fractions (1.5Gi) and no small k."""
    if re.fullmatch(r"([0-9]+([KMGTPE]i?)?)?", quantity):
        return quantity
    return str(int(number(quantity)))
