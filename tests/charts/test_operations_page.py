"""What docs/operations.md gives for OpenShift, EKS, GKE and networks without the internet is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipelines.recipe import load_recipe
from tests.helpers.chart import pod_specs, render
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()


def blocks(kind: str) -> list[str]:
    return list(re.findall(rf"```ya?ml\n# {kind}\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.parametrize("values", blocks("values"))
def test_values_are_taken_by_the_chart(values: str, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(values)
    made = render(f"--values={tmp_path / 'values.yaml'}")
    assert len(list(pod_specs(made))) >= 2
    account = next(one for one in made if one["kind"] == "ServiceAccount" and one["metadata"]["name"] == "srlm")
    given = yaml.safe_load(values).get("serviceAccount", {}).get("annotations", {})
    assert account["metadata"].get("annotations", {}).items() >= given.items()


@pytest.mark.parametrize("recipe", blocks("recipe"))
def test_recipes_are_read(recipe: str) -> None:
    given = [
        f"{name}.{key}={yaml.safe_dump(one, default_flow_style=True, width=10**6).strip().removesuffix('...')}"
        for name, section in yaml.safe_load(recipe).items()
        for key, one in section.items()
    ]
    assert load_recipe("llama3-8b", given)


def test_no_block_is_left_out() -> None:
    known = ("values", "recipe", "manifest")
    assert PAGE.count("```y") == sum(len(blocks(kind)) for kind in known)
