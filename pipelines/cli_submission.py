"""`srlm submit` and `srlm manifests`: a recipe's run on a cluster."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

commands = typer.Typer()

RecipeName = Annotated[str, typer.Argument(help="A shipped recipe (demo, llama3-8b, llama2-70b-paper) or a YAML file.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="A.B=VALUE", help="Override a setting; may be repeated.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
RunName = Annotated[str, typer.Option("--run", help="The run's name; default: recipe, date and time.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="The run's namespace; default: the current one.")]


@commands.command()
def submit(
    recipe: RecipeName,
    overrides: Overrides = [],  # noqa: B006  typer wants a list and does not change it
    host: Annotated[str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Kubeflow Pipelines' address.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Yours, where Kubeflow has several users.")] = "",
    experiment: Annotated[str, typer.Option(help="default: the recipe's name")] = "",
    run: RunName = "",
    store: Annotated[str, typer.Option(envvar="SRLM_STORE", help="s3://bucket/prefix")] = "",
    tracking_uri: Annotated[str, typer.Option(envvar="SRLM_TRACKING_URI", help="An MLflow server.")] = "",
    engine: Annotated[str, typer.Option(help="tgi, vllm, transformers or endpoint.")] = "tgi",
    endpoint: Annotated[str, typer.Option(help="URL for --engine endpoint; {model} stands for sft, m1, ...")] = "",
    judge_endpoint: Annotated[
        str, typer.Option(envvar="SRLM_JUDGE_ENDPOINT", help="URL of another judge than the policy.")
    ] = "",
    annotator_endpoint: Annotated[
        str, typer.Option(envvar="SRLM_ANNOTATOR_ENDPOINT", help="URL of the annotator; default: M0.")
    ] = "",
    worker_image: Annotated[str, typer.Option(envvar="SRLM_WORKER_IMAGE", help="Yours, of steps that ask.")] = "",
    trainer_image: Annotated[str, typer.Option(envvar="SRLM_TRAINER_IMAGE", help="Yours, of steps that train.")] = "",
    engine_image: Annotated[
        str, typer.Option(help="The server; default: SRLM_TGI_IMAGE, ..., else the engine's own.")
    ] = "",
    debug: Debug = False,
) -> None:
    """Run a recipe on Kubeflow Pipelines. Its token is KF_PIPELINES_TOKEN, or the one mounted into this pod."""
    from pipelines.cluster.submission import Where
    from pipelines.cluster.submission import submit as submit_recipe
    from pipelines.compile import load_recipe_for_elsewhere
    from pipelines.local import new_run

    wanted = load_recipe_for_elsewhere(recipe, overrides)
    _tell_of_local_files(wanted)
    parameters = {
        "store": store,
        "tracking_uri": tracking_uri,
        "run": run or new_run(wanted.name),
        "engine": engine,
        "endpoint": endpoint,
        "judge_endpoint": judge_endpoint,
        "annotator_endpoint": annotator_endpoint,
        "worker_image": worker_image,
        "trainer_image": trainer_image,
        "engine_image": engine_image or os.environ.get(f"SRLM_{engine.upper()}_IMAGE", ""),
    }
    submitted = submit_recipe(wanted, Where(host, namespace, experiment), parameters)
    print(f"run {parameters['run']} {'was submitted before' if submitted.again else 'submitted'}: {submitted.run_id}")
    print(f"pipeline version: {submitted.version}")
    print(submitted.url)


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
    run: RunName = "",
    debug: Debug = False,
) -> None:
    """Print a run as Kubernetes resources: srlm manifests RECIPE | kubectl create -f -"""
    from components.errors import UserError
    from pipelines.cluster.manifests import Asked, manifests
    from pipelines.compile import load_recipe_for_elsewhere
    from pipelines.local import new_run

    if runner not in ("kubeflow", "job"):
        raise UserError(f"there is no runner {runner!r}", "Use kubeflow or job.")
    wanted = load_recipe_for_elsewhere(recipe, overrides)
    _tell_of_local_files(wanted)
    kind: Literal["kubeflow", "job"] = "job" if runner == "job" else "kubeflow"
    sys.stdout.write(manifests(wanted, Asked(run or new_run(wanted.name), kind, namespace, image, engine)))


def _tell_of_local_files(recipe: Recipe) -> None:
    """On stderr: what stdout holds may go into kubectl."""
    from pipelines.cluster.files import local_files

    if paths := local_files(recipe):
        message = f"note: pods see no file of this machine ({'; '.join(paths)}); put them into s3:// or into the images"
        Console(stderr=True).print(escape(message), highlight=False, soft_wrap=True)
