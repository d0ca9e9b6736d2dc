"""Files that are no recipes are refused with a word, whatever they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError
from pipelines.recipe import load_recipe

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a {b: *a}", "refers to itself"),
        (BOMB, "more than 100,000 values"),
        ("name: 2024-13-45", "is no YAML"),
        ("a: " + "[" * 5000, "is no YAML"),
        ("eft: {prompt: {file: " + "x" * 5000 + "}}", "there is no file"),
        ('name: "\\ud800"', "recipe"),
    ],
)
def test_a_hostile_file_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=problem):
        load_recipe(str(path))


@pytest.mark.parametrize("name", ["x" * 5000, "\ud800", "a\0b"])
def test_a_name_that_can_be_no_path_is_no_recipe(name: str) -> None:
    with pytest.raises(UserError, match="there is no recipe"):
        load_recipe(name)
