"""`srlm submit` and `srlm manifests`: a recipe's run on a cluster."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.cli.options import (
    AnnotatorEndpoint,
    AnnotatorModel,
    Ca,
    Cookie,
    Debug,
    Endpoint,
    EngineImage,
    Host,
    Json,
    JudgeEndpoint,
    JudgeModel,
    Namespace,
    NewRun,
    Overrides,
    RecipeName,
    TrainerImage,
    WorkerImage,
    print_json,
)

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

commands = typer.Typer()


@commands.command()
def submit(
    recipe: RecipeName,
    overrides: Overrides = [],  # noqa: B006  typer wants a list and does not change it
    host: Host = "",
    ca: Ca = "",
    cookie: Cookie = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Yours, where Kubeflow has several users.")] = "",
    experiment: Annotated[str, typer.Option(help="default: the recipe's name")] = "",
    run: NewRun = "",
    store: Annotated[str, typer.Option(envvar="SRLM_STORE", help="s3://bucket/prefix")] = "",
    tracking_uri: Annotated[str, typer.Option(envvar="SRLM_TRACKING_URI", help="An MLflow server.")] = "",
    engine: Annotated[str, typer.Option(help="tgi, vllm, transformers or endpoint.")] = "tgi",
    endpoint: Endpoint = "",
    judge_endpoint: JudgeEndpoint = "",
    annotator_endpoint: AnnotatorEndpoint = "",
    judge_model: JudgeModel = "",
    annotator_model: AnnotatorModel = "",
    worker_image: WorkerImage = "",
    trainer_image: TrainerImage = "",
    engine_image: EngineImage = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a recipe on Kubeflow Pipelines. Its token is KF_PIPELINES_TOKEN, or the one mounted into this pod.

    Example: srlm submit llama3-8b --engine vllm -n training
    """
    from pipelines.cluster.submission import KubeflowTarget, with_addresses_of_chart
    from pipelines.cluster.submission import submit as submit_recipe
    from pipelines.compile import load_recipe_for_elsewhere
    from pipelines.local.run import new_run

    loaded = load_recipe_for_elsewhere(recipe, overrides)
    _note_local_files(loaded)
    parameters = {
        "store": store,
        "tracking_uri": tracking_uri,
        "run": run or new_run(loaded.name),
        "engine": engine,
        "endpoint": endpoint,
        "judge_endpoint": judge_endpoint,
        "annotator_endpoint": annotator_endpoint,
        "judge_model": judge_model,
        "annotator_model": annotator_model,
        "worker_image": worker_image,
        "trainer_image": trainer_image,
        "engine_image": engine_image or os.environ.get(f"SRLM_{engine.upper()}_IMAGE", ""),
    }
    parameters = with_addresses_of_chart(loaded, namespace, parameters)
    submitted = submit_recipe(loaded, KubeflowTarget(host, namespace, experiment), parameters)
    if as_json:
        told = {"run": parameters["run"], "id": submitted.run_id, "version": submitted.version, "page": submitted.page}
        print_json(told | {"submitted_before": submitted.again})
        return
    print(f"run {parameters['run']} {'was submitted before' if submitted.again else 'submitted'}: {submitted.run_id}")
    print(f"pipeline version: {submitted.version}")
    print(submitted.page)


@commands.command("continue", hidden=True)
def continue_(
    run: Annotated[str, typer.Argument(help="The run's folder: STORE/runs/NAME.")],
    part: Annotated[int, typer.Option(help="The part to start.")],
    host: Host = "",
    namespace: Namespace = "",
    debug: Debug = False,
) -> None:
    """Start another part of a run on Kubeflow Pipelines, as the step does with which the part before it ends.

    Example: srlm continue s3://bucket/runs/demo-20261126-035728-3904 --part 2
    """
    from components.core.context import read_context
    from pipelines.cluster.submission import KubeflowTarget
    from pipelines.cluster.submission import submit as submit_recipe
    from pipelines.recipe import recipe_from

    context = read_context(run)
    parameters = {name: value for name, value in vars(context).items() if name != "recipe"}
    submitted = submit_recipe(recipe_from(context.recipe), KubeflowTarget(host, namespace), parameters, part)
    print(f"part {part} of {context.run}: {submitted.run_id}")


@commands.command("manifests")
def manifests_(
    recipe: RecipeName,
    overrides: Overrides = [],  # noqa: B006
    runner: Annotated[
        str, typer.Option(help="kubeflow: a Job submits the run; job: the Job is the run, without Kubeflow.")
    ] = "kubeflow",
    namespace: Namespace = "",
    image: Annotated[str, typer.Option(help="The Job's own; default: the worker's or the trainer's.")] = "",
    engine: Annotated[str, typer.Option(help="default: tgi with Kubeflow, transformers without")] = "",
    engine_image: EngineImage = "",
    run: NewRun = "",
    debug: Debug = False,
) -> None:
    """Print a run as Kubernetes resources: srlm manifests RECIPE | kubectl create -f -

    Example: srlm manifests llama3-8b --engine vllm -n training
    """
    from components.core.errors import UserError
    from pipelines.cluster.manifests import JobRequest, gpu_note, manifests
    from pipelines.compile import load_recipe_for_elsewhere
    from pipelines.local.run import new_run

    if runner not in ("kubeflow", "job"):
        raise UserError(f"there is no runner {runner!r}", "Use kubeflow or job.")
    loaded = load_recipe_for_elsewhere(recipe, overrides)
    _note_local_files(loaded)
    kind: Literal["kubeflow", "job"] = "job" if runner == "job" else "kubeflow"
    request = JobRequest(run or new_run(loaded.name), kind, namespace, image, engine, engine_image)
    _print_note(gpu_note(loaded, request))
    sys.stdout.write(manifests(loaded, request))


def _note_local_files(recipe: Recipe) -> None:
    from pipelines.recipe import local_files

    if paths := [f"{setting}: {path}" for setting, path in local_files(recipe).items()]:
        _print_note(f"pods see no file of this machine ({'; '.join(paths)}); put them into s3:// or into the images")


def _print_note(note: str) -> None:
    """On stderr: what stdout holds may go into kubectl."""
    if note:
        Console(stderr=True, emoji=False).print(escape(f"note: {note}"), highlight=False, soft_wrap=True)
