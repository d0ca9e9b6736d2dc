"""docs/environment.md has every variable that the code reads, docs/troubleshooting.md messages that the code has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.helpers.paths import ROOT
from tests.test_settings_named import _literals

CODE = [path for folder in ("components", "pipelines", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
FAMILIES = re.compile(r"(SRLM|KF_PIPELINES|KFP|AWS|MLFLOW|HF|HUGGINGFACE|KUBERNETES)_[A-Z0-9_]*[A-Z0-9]")
ENVIRONMENT = (ROOT / "docs" / "environment.md").read_text()
TROUBLES = re.findall(r"^\| `(.*?)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)


def variables() -> Iterator[tuple[str, str]]:
    """Place and name of what is read from os.environ, and of every name that is of a family of variables."""
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            name = read_by(node)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and FAMILIES.fullmatch(node.value):
                name = node.value
            if name:
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", name


def read_by(node: ast.AST) -> str:
    """The variable that os.environ is asked for here, "" where it is none or no name."""
    asked: ast.expr | None = None
    if isinstance(node, ast.Call) and node.args and re.match(r"os\.(environ\.\w+|getenv)$", ast.unparse(node.func)):
        asked = node.args[0]
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
        asked = node.slice
    elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
        asked = node.left
    return str(asked.value) if isinstance(asked, ast.Constant) else ""


def test_every_variable_that_is_read_stands_on_the_page() -> None:
    found = {name: place for place, name in variables()}
    assert len(found) > 30, "hardly anything was found: the search no longer fits the code"
    told = set(re.findall(r"`([A-Za-z_][A-Za-z0-9_]*)`", ENVIRONMENT))
    missing = {name: place for name, place in found.items() if name not in told}
    assert not missing, f"add these to docs/environment.md, with what they mean: {missing}"


def test_the_page_names_no_variable_that_nothing_knows() -> None:
    """Those of libraries stand in a section of their own."""
    ours = ENVIRONMENT.partition("\n## Of libraries")[0]
    rows = set(re.findall(r"`((?:SRLM|KF_PIPELINES)_[A-Z0-9_]+)`", ours))
    text = "".join(path.read_text() for path in [*CODE, *sorted((ROOT / "charts").rglob("*.yaml"))])
    built = re.compile(r"SRLM_(WORKER|TRAINER|TRANSFORMERS|TGI|VLLM)_IMAGE")  # by the engine's name
    assert not [name for name in rows if name not in text and not built.fullmatch(name)]


@cache
def literals() -> list[str]:
    """Texts of the code, with {} where something is filled in."""
    return [text for path in CODE for _, text in _literals(ast.parse(path.read_text()))]


@pytest.mark.parametrize("message", TROUBLES)
def test_a_message_of_the_page_is_one_of_the_code(message: str) -> None:
    """Its fixed words, with ... where the code fills something in."""
    wanted = re.compile(".*".join(re.escape(part.strip()) for part in message.split("...")), re.DOTALL)
    assert any(wanted.search(text) for text in literals()), message


def test_there_are_troubles() -> None:
    assert len(TROUBLES) > 25
