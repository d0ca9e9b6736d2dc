"""Arguments and options that several commands of `srlm` have in common, and where they print."""

from __future__ import annotations

import glob
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.core.store import home
from pipelines.cluster.kubeflow import CA, COOKIE

# A log has no width of its own; what a model or a name says is shown as it is written (":a:" would be a picture).
console = Console(emoji=False) if sys.stdout.isatty() else Console(width=110, emoji=False)


def _recipes(begun: str) -> list[str]:
    """Of the shell's completion: shipped recipes, and files of this folder; nothing heavy is imported."""
    shipped = Path(__file__).parents[1] / "recipes"
    names = [*(path.stem for path in shipped.glob("*.yaml")), *(path.name for path in Path().glob("*.yaml"))]
    return sorted(name for name in names if name.startswith(begun))


def run_names(begun: str) -> list[str]:
    """Of the shell's completion: runs on this machine, the newest first; no cluster is asked."""
    folders = [folder for folder in (home() / "runs").glob(f"{glob.escape(begun)}*") if folder.is_dir()]
    return [folder.name for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)]


RecipeName = Annotated[
    str,
    typer.Argument(
        help="A shipped recipe (demo, llama2-70b-lora, llama2-70b-paper, llama3-8b, llama3-8b-temporal, world) or a "
        "YAML file.",
        autocompletion=_recipes,
    ),
]
RunName = Annotated[str, typer.Argument(help="The run's name, or Kubeflow's id of it.", autocompletion=run_names)]
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


Json = Annotated[bool, typer.Option("--json", help="One JSON document for scripts; docs/commands.md has its keys.")]


def print_json(document: object) -> None:
    """The one thing on stdout; what else there is to say is on stderr."""
    print(json.dumps(document, indent=1, default=str))


def going_on(run: str) -> str:
    """The command line that goes on with what this one began; `run` is its name, if it has one by then."""
    words = sys.argv[1:]
    named = any(word == "--run" or word.startswith("--run=") for word in words)
    return shlex.join(["srlm", *words, *(["--run", run] if run and not named else [])])


def talk(as_json: bool) -> Console:
    """Where a command says what it does beside its answer."""
    return Console(stderr=True, emoji=False) if as_json else console


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
Noise = Annotated[
    int | None,
    typer.Option(min=1, help="Train the model so many times more with other seeds, and show how its figures differ."),
]
NewRun = Annotated[str, typer.Option("--run", help="The run's name; default: recipe, date and time.")]
