"""`srlm init`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.init import own_recipe
from pipelines.cli.main import app
from pipelines.recipe import load_recipe, shipped_recipes


def test_a_recipe_of_one_s_own_is_another_with_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "mine"]).exit_code == 0
    assert load_recipe("mine.yaml") == load_recipe("demo", ["name=mine"])
    again = CliRunner().invoke(app, ["init", "mine"])
    assert "mine.yaml is there already" in str(again.exception)


@pytest.mark.parametrize("extends", shipped_recipes())
def test_what_it_proposes_to_change_is_set_as_it_is(extends: str, tmp_path: Path) -> None:
    """Without the #s, the file is a recipe, and the same one."""
    recipe = load_recipe(extends, ["name=mine"])
    lines = own_recipe(extends, recipe).splitlines()
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join([*lines[1:3], *(line.removeprefix("# ") for line in lines[3:])]))
    assert load_recipe(str(path)) == recipe


@pytest.mark.parametrize(
    ("arguments", "problem"), [(["My Own"], "name"), (["mine", "--extends", "nothing"], "nothing")]
)
def test_nothing_is_written_for_a_recipe_that_cannot_be(
    arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert problem in str(CliRunner().invoke(app, ["init", *arguments]).exception)
    assert not list(tmp_path.iterdir())
