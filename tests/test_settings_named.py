"""A setting that a message, a page or a help text names can be set: `section.setting` exists in the recipe."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer
import yaml

from components.core.settings import Settings
from pipelines.cli.main import app
from pipelines.recipe import Recipe
from tests.helpers.paths import ROOT

DOTTED = re.compile(r"(?<![\w./@:-])[a-z][a-z_]*(?:\.[a-z_]+)+\b(?![(/])")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE_ENDINGS = {
    "py",
    "css",
    "js",
    "json",
    "jsonl",
    "yaml",
    "yml",
    "md",
    "csv",
    "txt",
    "jinja",
    "safetensors",
    "png",
    "log",
}
CHART = yaml.safe_load((ROOT / "charts/self-rewarding/values.yaml").read_text())

Named = tuple[str, str]  # where, and the dotted name


def classes(annotation: Any) -> list[type]:
    """Classes that a value of this annotation may have."""
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation]
    found = [one for argument in get_args(annotation) for one in classes(argument)]
    return [*found, dict] if getattr(annotation, "__origin__", None) is dict else found


def sections_of(settings: type[Settings]) -> dict[str, type[Settings]]:
    """Fields that are sections again, by name."""
    return {
        name: one
        for name, field in settings.model_fields.items()
        for one in classes(field.annotation)
        if issubclass(one, Settings)
    }


def exists(dotted: str, settings: type[Settings] = Recipe) -> bool:
    """Whether there is such a setting; keys of a mapping are free, as in gate.floors."""
    name, _, rest = dotted.partition(".")
    if name not in settings.model_fields:
        return False
    inner = classes(settings.model_fields[name].annotation)
    return not rest or dict in inner or any(exists(rest, one) for one in inner if issubclass(one, Settings))


def is_chart_value(dotted: str) -> bool:
    value: Any = CHART
    for name in dotted.split("."):
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


def nested_names(settings: type[Settings]) -> set[str]:
    inner = sections_of(settings)
    return set(inner).union(*(nested_names(one) for one in inner.values()))


SECTIONS = set(sections_of(Recipe))
ROOMS = {path.name for path in (ROOT / "components").rglob("*") if path.is_dir() and not path.name.startswith("__")}
LOOKS_LIKE_A_SECTION = SECTIONS | ROOMS | nested_names(Recipe)


def named_in(text: str) -> Iterator[str]:
    """What looks like a setting: its first word is a section, a component, a part of a section, or nearly so."""
    for match in DOTTED.finditer(text):
        first, last = match[0].split(".")[0], match[0].rsplit(".", 1)[1]
        close = difflib.get_close_matches(first, SECTIONS, 1, cutoff=0.8)
        if last not in FILE_ENDINGS and (first in LOOKS_LIKE_A_SECTION or close):
            yield match[0]


def in_code() -> Iterator[Named]:
    """Named in string literals other than docstrings; a validator names settings from its own section on."""
    for path in sorted(
        path for folder in ("components", "pipelines", "examples") for path in (ROOT / folder).rglob("*.py")
    ):
        tree = ast.parse(path.read_text())
        relative = {id(part) for node in ast.walk(tree) if _is_value_error(node) for part in ast.walk(node)}
        for node, text in _literals(tree):
            for dotted in named_in(text):
                if not (id(node) in relative and _exists_somewhere(dotted)):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", dotted


def _is_value_error(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ValueError"


def _exists_somewhere(dotted: str, settings: type[Settings] = Recipe) -> bool:
    """As pydantic tells a validator's message behind the name of the section."""
    inner = sections_of(settings).values()
    return exists(dotted, settings) or any(_exists_somewhere(dotted, one) for one in inner)


def _literals(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield node, "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node, node.value


def in_pages() -> Iterator[Named]:
    """Named in the documentation, which speaks of the chart's values, too."""
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for dotted in named_in(line):
                if not is_chart_value(dotted):
                    yield f"{path.relative_to(ROOT)}:{number}", dotted


def in_recipes() -> Iterator[Named]:
    for path in sorted(ROOT.glob("pipelines/recipes/*.yaml")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for dotted in named_in(line.partition("#")[2]):
                yield f"{path.relative_to(ROOT)}:{number}", dotted


def in_help() -> Iterator[Named]:
    """Named in `srlm --help` and the help of every command."""

    def texts(command: Any, path: str) -> Iterator[tuple[str, str]]:
        yield path, command.help or ""
        yield from ((path, getattr(parameter, "help", "") or "") for parameter in command.params)
        for name, one in getattr(command, "commands", {}).items():
            yield from texts(one, f"{path} {name}")

    for path, text in texts(typer.main.get_command(app), "srlm"):
        for dotted in named_in(text):
            yield f"{path} --help", dotted


@pytest.mark.parametrize(("named", "at_least"), [(in_code, 60), (in_pages, 20), (in_recipes, 0), (in_help, 0)])
def test_a_setting_that_is_named_exists(named: Any, at_least: int) -> None:
    found = list(named())
    assert len(found) >= at_least, "hardly anything was found: the search no longer fits the texts"
    assert not [f"{place}: {dotted}" for place, dotted in found if not exists(dotted)]


def test_sections_that_the_pages_show_can_be_written_so() -> None:
    """Examples in YAML: each key is a setting of the recipe or a value of the chart."""
    wrong, seen = [], 0
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))):
        for match in FENCED.finditer(path.read_text()):
            if match[1] == "yaml":
                seen += 1
                wrong += [f"{path.name}: {key}" for key in _keys(yaml.safe_load(match[2])) if not exists(key)]
    assert seen >= 4
    assert not wrong


def _keys(value: Any, before: str = "") -> Iterator[str]:
    """Dotted names; `extends` and a text's `{file: x}` are a recipe's own words."""
    for name, inner in value.items() if isinstance(value, dict) and list(value) != ["file"] else []:
        if name == "extends" and not before:
            continue
        yield f"{before}{name}"
        yield from _keys(inner, f"{before}{name}.")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Raise seed_data.eft_prompts or eft.max_class_share.", ["seed_data.eft_prompts"]),  # the section is `data`
        ("--set sampling.candidate=8", ["sampling.candidate"]),
        ("`pod.gpus` is the number of GPUs", ["pod.gpus"]),  # of serving
        ("prompt.count and exact_answers.samples", ["prompt.count", "exact_answers.samples"]),
        ("gate.floors.parse_rate, eft.source and dpo.early_stop.every exist", []),
        ("see judging.py, components.judging.parser and https://data.example.com", []),
    ],
)
def test_what_would_be_found(text: str, wrong: list[str]) -> None:
    assert [dotted for dotted in named_in(text) if not exists(dotted)] == wrong
