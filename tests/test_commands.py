"""Every command that the pages show is executed: here where that costs little, else by a test or workflow named here.

What a command line of `srlm` says is checked whole: the command exists, its options do, the recipe takes its settings.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.recipe import load_recipe, shipped_recipes
from tests.helpers.chart import helm_program
from tests.helpers.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
    *sorted(ROOT.glob("charts/*/README.md")),
]
PROGRAMS = {"srlm", "make", "python", "kubectl", "helm", "aws", "mlflow", "tar", "cp", "mkdir", "export"}
PROGRAMS |= {"base64", "cosign", "docker", "eval", "pip", "kind"}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
INLINE = re.compile(r"`(srlm [a-z][^`]*)`")

# Commands of `srlm` that are executed here, in a folder with a few rows of data and a recipe of its own.
HERE = {"init", "data", "manifests", "status"}
# Who executes the others: "file::what stands there" (a test's name, or a line of a workflow).
LOOP, MODELS, USE = (
    "tests/pipelines/test_loop.py",
    "tests/pipelines/cli/test_models.py",
    "tests/pipelines/cli/test_use.py",
)
ON_CLUSTER = "tests/cluster/test_whole_run.py::test_status_logs_and_cancel_know_the_run"
VERBS = {
    "run": f"{LOOP}::test_the_loop_makes_measures_and_registers_every_model",
    "compile": "tests/pipelines/cli/test_options.py::test_who_compiles_a_long_run_is_told_that_it_goes_on",
    "eval": f"{LOOP}::test_two_models_are_compared_as_ci_does_it",
    "check": "tests/pipelines/local/test_check.py::test_a_recipe_that_would_run_passes_and_leaves_nothing",
    "plan": "tests/pipelines/cli/test_plan.py::test_its_example_is_one_that_runs",
    "watch": "tests/pipelines/cli/test_scripts.py::test_who_watches_a_run_that_failed_gets_its_reason_and_1",
    "compare": "tests/pipelines/cli/test_compare.py::test_two_runs_side_by_side",
    "review": f"{LOOP}::test_people_label_what_a_model_learnt_from_and_read_it_in_the_report",
    "env": "tests/pipelines/local/test_services.py::test_up_keeps_them_and_down_stops_them",
    "show": f"{LOOP}::test_people_label_what_a_model_learnt_from_and_read_it_in_the_report",
    "models": f"{MODELS}::test_models_shows_versions_aliases_verdicts_and_figures",
    "promote": f"{MODELS}::test_promote_says_what_it_did",
    "rollback": f"{MODELS}::test_rollback_goes_there_and_back",
    "lineage": f"{MODELS}::test_lineage_is_a_tree_whose_lines_are_whole",
    "chat": f"{USE}::test_a_conversation_goes_on_until_an_empty_line",
    "export": f"{USE}::test_an_exported_model_is_its_files_in_a_folder",
    "gc": "tests/pipelines/cli/test_garbage.py::test_what_goes_is_shown_first_and_removed_with_yes",
    "up": "tests/pipelines/local/test_services.py::test_up_keeps_them_and_down_stops_them",
    "down": "tests/pipelines/local/test_operations.py::test_a_laptop_is_restored_from_its_archive",
    "doctor": "tests/pipelines/cluster/test_doctor.py::test_what_is_asked_for_and_cannot_be_had_is_broken",
    "logs": ON_CLUSTER,
    "cancel": ON_CLUSTER,
    "clean": "tests/cluster/test_operations.py::test_what_a_run_left_goes_once_its_job_has_ended",
    "submit": "tests/pipelines/cluster/test_submission.py::test_a_recipe_is_submitted_with_the_environment_s_place",
    "deploy": "tests/cluster/test_deploy.py::test_promotion_moves_it_and_rollback_brings_it_back_within_a_minute",
    "undeploy": "tests/cluster/test_deploy.py::test_undeploy_leaves_nothing",
}
MODULES = {
    "pytest": ".ci/run::make test-extended",
    "pipelines.scale": "tests/pipelines/test_scale.py::test_the_page_is_up_to_date",
    "pipelines.settings_reference": "tests/pipelines/test_settings_reference.py::test_the_page_is_up_to_date",
    "pipelines.compiled": "tests/pipelines/test_compile.py::test_the_packages_that_are_checked_in_are",
    "examples.world.make": "tests/examples/test_world.py::test_the_recipe_names_the_files_that_are_made",
    "examples.world.proof": ".github/workflows/nightly.yml::make proof",
    "examples.world.methods": ".github/workflows/nightly.yml::make methods",
}
# Targets of make that nothing of CI calls; their own commands are looked at instead, those with a test are named.
TARGETS = {
    "setup": ".ci/run::make lint",
    "format": ".ci/run::make lint",
    "lock": "tests/test_workflows.py::test_the_locks_hold",
}
# Commands of other programs, by page and section.
README, OPERATIONS = "tests/cluster/test_readme.py::", "tests/pipelines/local/test_operations.py::"
RELEASE = ".github/workflows/release.yml::"
SECTIONS = {
    ("README.md", "On a cluster"): f"{README}test_the_demo_starts_with_three_commands",
    ("operations.md", "Upgrade"): f"{OPERATIONS}test_the_registry_is_upgraded_by_hand",
    ("operations.md", "Backup"): f"{OPERATIONS}test_store_and_registry_are_restored_one_by_one",
    ("operations.md", "Restore"): f"{OPERATIONS}test_store_and_registry_are_restored_one_by_one",
    # what they read is there once a release has been published, which makes it so
    ("operations.md", "What a release is signed with"): f"{RELEASE}cosign sign --yes",
    # no Kubeflow is there that would take these: what kubectl gives it is compared with the package
    ("kubeflow.md", "With kubectl"): "tests/pipelines/test_compile.py::test_resources_for_kubectl_hold_the_package",
    ("kubeflow.md", "From the command line"): "tests/pipelines/cluster/test_kubeflow_login.py::KF_PIPELINES_TOKEN",
    (
        "charts README.md",
        "Chart `self-rewarding`",
    ): "tests/cluster/test_whole_run.py::test_the_release_is_tested",
}
ADD = "execute it in tests/test_commands.py (HERE), or name there (VERBS, MODULES, TARGETS, SECTIONS) who does"


@dataclass(frozen=True)
class Line:
    """A command as a page shows it, in words; of a pipe each program is one."""

    page: Path
    section: str
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        return Path(self.words[0]).name

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}, {self.section!r}: {' '.join(self.words)}"


def lines() -> Iterator[Line]:
    """Of every block of a page that begins with a program, and what stands in backquotes in the text."""
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            if match[1] not in ("", "sh", "bash", "console"):
                continue
            section = ["", *HEADING.findall(BLOCK.sub("", text[: match.start()]))][-1]
            commands = match[2].replace("\\\n", " ").splitlines()
            if commands and Path(commands[0].split()[0]).name in PROGRAMS:
                yield from (Line(page, section, words) for command in commands for words in parts(command))


def parts(command: str) -> Iterator[tuple[str, ...]]:
    """The programs of a line, without its comment; of `eval "$(...)"` what is evaluated."""
    command = re.sub(r'^eval "\$\((.*)\)"', r"\1", command)
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.commenters, lexer.whitespace_split = "", True
    words: list[str] = []
    for word in lexer:
        if word.startswith("#"):
            break
        if word in ("|", "&", "&&", ";"):
            yield tuple(words)
            words = []
        else:
            words.append(word)
    if words:
        yield tuple(words)


LINES = [line for line in lines() if line.words]
SRLM = sorted({line for line in LINES if line.program == "srlm"}, key=lambda line: line.place)
OURS: Any = typer.main.get_command(app)


def is_there(named: str) -> bool:
    """Whether a file holds what it is named for; of a test its name."""
    file, _, what = named.partition("::")
    path = ROOT / file
    return path.is_file() and (f"def {what}" if what.startswith("test_") else what) in path.read_text()


@pytest.mark.parametrize("named", sorted({*VERBS.values(), *MODULES.values(), *TARGETS.values(), *SECTIONS.values()}))
def test_who_is_said_to_execute_commands_is_there(named: str) -> None:
    assert is_there(named)


def test_each_command_of_srlm_is_named_in_the_file_of_its_test() -> None:
    files = {verb: ROOT / named.partition("::")[0] for verb, named in VERBS.items()}
    assert not [verb for verb, path in files.items() if not re.search(rf"\b{verb}\b", path.read_text())]


def test_the_pages_are_read() -> None:
    """So many commands at least: else the search no longer fits the pages."""
    assert len(LINES) > 70 and len(SRLM) > 35
    assert {line.program for line in LINES} <= PROGRAMS, f"a program that is new on the pages: {ADD}"


def test_every_command_of_every_page_is_executed_somewhere() -> None:
    astray = [line.place for line in LINES if not executed(line)]
    assert not astray, f"nothing executes these; {ADD}:\n" + "\n".join(astray)


def executed(line: Line) -> bool:
    section = "charts README.md" if line.page.parent.parent.name == "charts" else line.page.name
    if line.program == "srlm":
        return line.words[1] in HERE or line.words[1] in VERBS
    if line.program == "make":
        return all(made(target) for target in line.words[1:] if "=" not in target)
    if line.program == "python":
        module = line.words[line.words.index("-m") + 1]
        return module in MODULES and find_spec(module) is not None
    return (section, line.section) in SECTIONS


def made(target: str) -> bool:
    """A target that CI calls, or whose own commands of `srlm` and Python are executed."""
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
    ci = "".join(path.read_text() for path in [ROOT / ".ci" / "run", *(ROOT / ".github" / "workflows").iterdir()])
    if recipe is None:
        return False
    if target in TARGETS or re.search(rf"make [a-z -]*\b{target}\b", ci):
        return True
    own = re.findall(r"\$\(BIN\)/(srlm \w+|python -m [\w.]+)", recipe[1])
    names = {one.split()[-1] for one in own}
    return bool(own) and names <= {*VERBS, *HERE, *MODULES}


def settings_of(arguments: list[str]) -> list[str]:
    return [value for option, value in pairwise(arguments) if option == "--set"]


def in_text() -> Iterator[tuple[str, str]]:
    """Page and command where a page's text, or a comment in a block, speaks of one."""
    for page in PAGES:
        text = page.read_text()
        for shown in INLINE.findall(BLOCK.sub("", text).replace("\n", " ")):
            yield page.name, shown


@pytest.mark.parametrize("line", SRLM, ids=lambda line: line.place)
def test_a_command_line_is_one_that_srlm_takes(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options and arguments by srlm's own parser; its settings by the recipe that it names."""
    monkeypatch.setattr(os, "environ", dict(os.environ))  # into which some options go
    verb, arguments = line.words[1], list(line.words[2:])
    assert verb in OURS.commands
    context = OURS.commands[verb].make_context(verb, list(arguments))
    recipe = context.params.get("recipe")
    load_recipe(recipe if recipe in shipped_recipes() else "demo", settings_of(arguments))


@pytest.mark.parametrize(("page", "shown"), sorted(set(in_text())))
def test_a_command_in_the_text_exists_with_its_options(page: str, shown: str) -> None:
    words = shown.split()
    assert words[1] in OURS.commands, f"{page}: {shown}"
    known = {name for one in OURS.commands[words[1]].params for name in (*one.opts, *one.secondary_opts)}
    given = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
    assert given <= known | {"-h", "--help"}, f"{page}: {shown}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One as the pages take it to be: rows of data of each form, and a recipe of one's own; no cluster."""
    pairs = [{"prompt": f"Question {n}?", "chosen": f"Good {n}.", "rejected": f"Bad {n}."} for n in range(60)]
    answers = [{"prompt": f"Task {n}?", "completion": f"Done {n}."} for n in range(20)]
    for name, rows in {"pairs.jsonl": pairs, "answers.jsonl": answers}.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "messages.jsonl.gz").write_bytes(gzip.compress((tmp_path / "pairs.jsonl").read_bytes()))
    (tmp_path / "my-judge.txt").write_text("{instruction} {response} Score: n")
    for name in ("KF_PIPELINES_ENDPOINT", "SRLM_STORE", "SRLM_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / ".srlm"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", sorted({line.page for line in SRLM}), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_costs_little_is_executed(page: Path, folder: Path) -> None:
    """In the order of the page, each in the folder that those before it have left."""
    if page.name != "your-own.md":
        (folder / "mine.yaml").write_text("extends: demo\nname: mine\n")
    for line in [line for line in LINES if line.page == page and line.program == "srlm" and line.words[1] in HERE]:
        told = CliRunner().invoke(app, list(line.words[1:]))
        assert told.exit_code == 0, f"{line.place}\n{told.output}{told.exception}"


INSTALLS = [line for line in LINES if line.words[:2] == ("helm", "install") and "oci://" not in " ".join(line.words)]


@pytest.mark.parametrize("line", INSTALLS, ids=lambda line: line.place)
def test_the_chart_takes_the_values_of_every_installation(line: Line) -> None:
    """Rendered, not installed: so a key of the store's own has to be named."""
    kept = [word for word in line.words[2:] if word not in ("--wait", "--create-namespace")]
    kept += ["--set", "secret.existingSecret=srlm"]
    done = subprocess.run([helm_program(), "template", *kept], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
