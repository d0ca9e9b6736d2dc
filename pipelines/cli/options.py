"""Arguments and options that several commands of `srlm` have in common, and where they print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cluster.kubeflow import CA, COOKIE

console = Console() if sys.stdout.isatty() else Console(width=110)  # a log has no width of its own

RecipeName = Annotated[
    str,
    typer.Argument(help="A shipped recipe (demo, llama2-70b-lora, llama2-70b-paper, llama3-8b, world) or a YAML file."),
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="A.B=VALUE", help="Override a setting; may be repeated.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]  # main() looks for it in the command line

Store = Annotated[
    str, typer.Option(envvar="SRLM_STORE", help="s3://bucket/prefix or a folder; default: a local S3 server.")
]
TRACKING = ["SRLM_TRACKING_URI", "MLFLOW_TRACKING_URI"]  # the first of them that is set
TrackingUri = Annotated[str, typer.Option(envvar=TRACKING, help="An MLflow server; default: a local one.")]
RunStore = Annotated[
    str,
    typer.Option("--store", help="Read the run's records there (s3://bucket/prefix, a folder); ask nobody else."),
]
Endpoint = Annotated[str, typer.Option(help="URL for --engine endpoint; {model} stands for sft, m1, ...")]
JudgeEndpoint = Annotated[str, typer.Option(envvar="SRLM_JUDGE_ENDPOINT", help="URL of another judge than the policy.")]
AnnotatorEndpoint = Annotated[
    str, typer.Option(envvar="SRLM_ANNOTATOR_ENDPOINT", help="URL of the annotator; default: M0, served by the run.")
]
JudgeModel = Annotated[
    str,
    typer.Option(envvar="SRLM_JUDGE_MODEL", help="The judge's name there; its key is SRLM_JUDGE_API_KEY."),
]
AnnotatorModel = Annotated[
    str,
    typer.Option(envvar="SRLM_ANNOTATOR_MODEL", help="The annotator's name there; its key is SRLM_ANNOTATOR_API_KEY."),
]
WorkerImage = Annotated[
    str, typer.Option(envvar="SRLM_WORKER_IMAGE", help="On a cluster: of steps that ask, and what fetches weights.")
]
TrainerImage = Annotated[str, typer.Option(envvar="SRLM_TRAINER_IMAGE", help="On a cluster: of what trains.")]
EngineImage = Annotated[
    str, typer.Option(help="The server on a cluster; default: SRLM_TGI_IMAGE, ..., else the engine's own.")
]


def _into(variable: str) -> Callable[[str], str]:
    """For an option that is read from this process's environment, where the client that needs it is made."""

    def keep(value: str) -> str:
        if value:
            os.environ[variable] = value
        return value

    return keep


Host = Annotated[str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Kubeflow Pipelines' address.")]
Ca = Annotated[
    str,
    typer.Option("--ca", metavar="FILE", callback=_into(CA), help=f"Authorities of Kubeflow's certificate; else {CA}."),
]
Cookie = Annotated[
    str,
    typer.Option(
        "--cookie", metavar="NAME=VALUE", callback=_into(COOKIE), help=f"Of a login before Kubeflow; better {COOKIE}."
    ),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="The runs' namespace; default: the current one.")]
NewRun = Annotated[str, typer.Option("--run", help="The run's name; default: recipe, date and time.")]
