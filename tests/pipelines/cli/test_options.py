"""What commands share: which recipes there are, every parameter of a run, and what a run may be called."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console
from typer.testing import CliRunner

from components.core.errors import UserError
from components.core.hashing import code_version
from pipelines.cli.main import GROUPS, app
from pipelines.cluster.submission import KubeflowTarget, submit
from pipelines.local.run import RunOptions, run_recipe
from pipelines.recipe import load_recipe, shipped_recipes
from tests.helpers.paths import ROOT

COMPILED = ROOT / "pipelines/compiled/demo.yaml"
ILLEGAL = ("My_Run", "a run", "-a", "a-", "a.b", "../../x", "a" * 64)


def options(command: str) -> dict[str, Any]:
    """The command's options and arguments by their first name."""
    found: Any = typer.main.get_command(app)
    return {one.opts[0]: one for one in found.commands[command].params}


def parameters() -> list[str]:
    """Of the compiled pipeline."""
    return list(next(yaml.safe_load_all(COMPILED.read_text()))["root"]["inputDefinitions"]["parameters"])


@pytest.mark.parametrize("command", ["run", "compile", "submit", "manifests"])
def test_the_help_names_every_recipe_that_comes_with_the_package(command: str) -> None:
    assert [name for name in shipped_recipes() if name not in options(command)["recipe"].help] == []


@pytest.mark.parametrize("command", ["run", "submit"])
def test_every_parameter_of_the_pipeline_is_an_option(command: str) -> None:
    """A run on this machine may train on several nodes of a cluster, so it takes the trainer's image, too."""
    assert [name for name in parameters() if f"--{name.replace('_', '-')}" not in options(command)] == []


def test_both_commands_read_images_and_places_from_the_same_variables() -> None:
    """But for MLflow's own: where a person looks is no place for pods, to which the chart's config map names one."""
    run, submit_ = options("run"), options("submit")
    read = {name: one.envvar for name, one in submit_.items() if one.envvar and name != "--host"}
    own = {"--tracking-uri": ["SRLM_TRACKING_URI", "MLFLOW_TRACKING_URI"]}
    assert {name: run[name].envvar for name in read} == read | own
    assert read["--trainer-image"] == "SRLM_TRAINER_IMAGE"


def test_what_is_given_becomes_the_pipeline_s_parameter() -> None:
    """Store and registry come from the servers that are started where none is given; the run's name is another's."""
    given = {name: f"a-{name}" for name in parameters() if name != "run"}
    assert RunOptions(**given).parameters() == {
        name: value for name, value in given.items() if name not in ("store", "tracking_uri")
    }


@pytest.mark.parametrize("name", ILLEGAL)
def test_a_run_has_a_name_that_services_and_a_folder_can_have(name: str) -> None:
    """Told before anything is started, asked for or written."""
    recipe = load_recipe("demo")
    for engine in ("embedded", "transformers", "tgi", "vllm"):
        with pytest.raises(UserError, match="cannot be named"):
            run_recipe(recipe, RunOptions(engine=engine), Console(), run=name)
    with pytest.raises(UserError, match="cannot be named"):
        submit(recipe, KubeflowTarget("http://127.0.0.1:9"), {"run": name})


@pytest.mark.parametrize(("rounds", "note"), [(3, ""), (7, "part 1 of 3: its last step starts the next one")])
def test_who_compiles_a_long_run_is_told_that_it_goes_on(rounds: int, note: str, tmp_path: Path) -> None:
    """Three rounds fit into one Kubeflow run; seven take three."""
    told = CliRunner().invoke(app, ["compile", "demo", "--set", f"rounds={rounds}", "-o", str(tmp_path / "p.yaml")])
    assert told.exit_code == 0, told.output
    assert note in told.output
    assert ("part 1" in told.output) == bool(note)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["eval", "--model", "models:/demo@m2", "--noise", "0"], "greater than or equal to 1"),
        (["compile", "demo", "--evaluation", "--noise", "0"], "greater than or equal to 1"),
        (["eval", "--model", "models:/demo@m2", "--noise", "two"], "unable to parse string as an integer"),
    ],
)
def test_a_number_of_trainings_that_is_none_is_refused_before_a_server_starts(command: list[str], problem: str) -> None:
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 2
    assert problem in " ".join(told.output.replace("│", " ").split())  # in a box


def test_only_a_model_that_is_evaluated_is_trained_again() -> None:
    told = CliRunner().invoke(app, ["compile", "demo", "--noise", "2"])
    assert isinstance(told.exception, UserError)
    assert "--evaluation" in told.exception.remedy


def commands() -> list[str]:
    """All that --help lists; `continue` is what a step calls."""
    found: Any = typer.main.get_command(app)
    return [name for name, command in found.commands.items() if not command.hidden]


@pytest.mark.parametrize("command", commands())
def test_every_command_shows_an_example_of_itself_whose_options_it_has(command: str) -> None:
    """Also by -h; each option of the example is the command's."""
    shown = CliRunner().invoke(app, [command, "-h"], env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    found: Any = typer.main.get_command(app)
    (example,) = [line for line in found.commands[command].help.splitlines() if line.startswith("Example: ")]
    assert example in shown.output
    words = example.removeprefix("Example: ").split()
    assert words[:2] == ["srlm", command]
    known = {name for one in found.commands[command].params for name in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("-") and len(word) > 1} <= known


def test_the_version_is_told() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"srlm {code_version()}\n")


def test_a_misspelt_command_is_answered_with_the_one_that_was_meant() -> None:
    shown = CliRunner().invoke(app, ["stats"])
    assert shown.exit_code == 2
    assert "Did you mean 'status'?" in shown.output


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_heeded(variables: dict[str, str], coloured: bool) -> None:
    """Of a terminal that takes colours, as FORCE_COLOR says."""
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    environment |= {"FORCE_COLOR": "1", "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "-m", "pipelines.cli.main", "check-this"]
    shown = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 2 and "No such command" in shown.stderr
    assert (re.search(r"\x1b\[(\d+;)*3\d", shown.stderr) is not None) is coloured


def test_help_shows_every_command_in_its_group_as_the_page_does() -> None:
    """docs/commands.md has the same groups in the same order, with the same commands."""
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(commands())
    page = (ROOT / "docs/commands.md").read_text()
    rows = re.findall(r"^\| ([A-Z][\w ]+) \| (.*`) \|$", page, re.MULTILINE)
    assert [(title, tuple(re.findall(r"`(\w+)`", named))) for title, named in rows] == list(GROUPS.items())
    shown = CliRunner().invoke(app, ["-h"], env={"COLUMNS": "100", "NO_COLOR": "1"}).output
    places = [shown.index(f" {title} ──") for title in GROUPS]
    assert places == sorted(places)
    assert " Commands ─" not in shown
