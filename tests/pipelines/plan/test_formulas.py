"""The plan's formulas, against the arithmetic of docs/scale.md."""

from __future__ import annotations

import pytest

from components.kubernetes.settings import number
from pipelines.plan.work import trainings
from pipelines.recipe import load_recipe


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("80Gi", 80 * 2**30), ("141G", 141e9), ("1.5Ti", 1.5 * 2**40), ("512", 512), ("4k", 4000)],
)
def test_quantities(quantity: str, expected: float) -> None:
    assert number(quantity) == expected


def test_steps_and_tokens() -> None:
    """3,200 examples of 600 tokens in batches of 16, twice: 400 steps. World ends DPO by max_steps: 30 x 64 pairs."""
    sft = trainings(load_recipe("llama2-70b-paper"))[0]
    assert (sft.steps, sft.total_tokens) == (400, 3200 * 600 * 2)
    for overrides in (["data.ift=0"], ["sft.baseline=false"]):
        assert [one.name for one in trainings(load_recipe("llama3-8b", overrides))][:2] == ["M1", "M2"]
    last = trainings(load_recipe("world"))[-1]
    assert (last.name, last.steps, last.total_tokens) == ("M4", 30, 30 * 64 * 2 * 600)
