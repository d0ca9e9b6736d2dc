"""`srlm deploy` and `srlm undeploy`: a registered model into traffic, and out of it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from components.core.errors import UserError
from pipelines.cli.options import Debug, EngineImage, Overrides, WorkerImage, console

commands = typer.Typer()

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Where it is served; default: the current one.")]
TrackingUri = Annotated[str, typer.Option(envvar="SRLM_TRACKING_URI", help="An MLflow server.")]
KServe = Annotated[bool, typer.Option("--kserve", help="As KServe's InferenceService, not as Deployment and Service.")]


@commands.command()
def deploy(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, which is followed, or models:/NAME/VERSION.")],
    overrides: Overrides = [],  # noqa: B006  typer wants a list and does not change it
    recipe: Annotated[str, typer.Option(help="Whose serving and cluster count; default: the one that made it.")] = "",
    engine: Annotated[str, typer.Option(help="vllm, tgi or transformers.")] = "vllm",
    namespace: Namespace = "",
    tracking_uri: TrackingUri = "",
    worker_image: WorkerImage = "",
    engine_image: EngineImage = "",
    kserve: KServe = False,
    canary: Annotated[
        int | None, typer.Option(min=0, max=100, help="With --kserve: percent of the requests for the newer model.")
    ] = None,
    manifests: Annotated[bool, typer.Option("--manifests", help="Print it as YAML, and touch no cluster.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Move what is deployed with its alias, for ever: what a pod of it does.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Serve a registered model in a cluster until `srlm undeploy`, and move with its alias.

    Example: srlm deploy models:/llama3-8b@champion -n prod --set serving.replicas=2
    """
    from components.kubernetes.client import connect
    from pipelines.cluster import deploy as deployment

    if not tracking_uri:
        raise UserError("no registry is named", "Give --tracking-uri, or set SRLM_TRACKING_URI.")
    if follow:
        deployment.follow(connect(namespace), tracking_uri, model, kserve)
    images = {"worker_image": worker_image, "engine_image": engine_image}
    request = deployment.DeployRequest(model, engine, recipe, overrides, **images, kserve=kserve, canary=canary)
    if manifests:
        sys.stdout.write(deployment.as_yaml(deployment.deployed_model(request, tracking_uri, namespace, None)))
        return
    cluster = connect(namespace)
    made = deployment.deployed_model(request, tracking_uri, cluster.namespace, cluster)
    deployment.deploy(cluster, made)
    _print(f"{made.name} {made.digest[:12]} is deployed in {cluster.namespace}, as {made.object_name}")
    where = f"kubectl get inferenceservice {made.object_name}" if kserve else f"http://{made.host}/v1/chat/completions"
    _print(f"{where}; " + (f"it follows {made.follows}" if made.follows else "it follows no alias"))


@commands.command()
def undeploy(
    name: Annotated[str, typer.Argument(help="The registered model.")], namespace: Namespace = "", debug: Debug = False
) -> None:
    """Take a registered model out of traffic. Its versions stay in the registry.

    Example: srlm undeploy llama3-8b -n prod
    """
    from components.kubernetes.client import connect
    from pipelines.cluster.deploy import undeploy as remove_model

    cluster = connect(namespace)
    for removed in remove_model(cluster, name) or [f"nothing: {name} is not deployed in {cluster.namespace}"]:
        _print(f"removed {removed}")


def _print(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
