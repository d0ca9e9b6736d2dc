"""The house stays in order: imports point one way, and functions stay small."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

FILES = sorted([*ROOT.glob("components/**/*.py"), *ROOT.glob("pipelines/**/*.py")])
HEAVY = {"torch", "trl", "transformers", "peft", "datasets", "accelerate"}
HEAVY_PLACES = ("components/sft/", "components/dpo/", "components/training/", "components/base_model/")
HEAVY_PLACES += ("components/serving/embedded/",)
CLUSTER_PLACES = ("components/kubernetes/", "components/serving/kubernetes/", "components/training/launch/trainjob.py")
CLUSTER_PLACES += ("components/training/launch/follow.py", "pipelines/cluster/")


def imported(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def top(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_one_way(path: Path) -> None:
    modules = imported(path)
    if name(path).startswith("components/"):
        assert "pipelines" not in top(modules), "components never look up at pipelines"
        if path.name != "component.py":
            assert "kfp" not in top(modules), "kfp belongs in pipelines/ and component.py"
            assert not any(module.endswith(".component") for module in modules), "stages never import the KFP shell"
    if not name(path).startswith(HEAVY_PLACES):
        assert not top(modules) & HEAVY, "only training and the embedded engine hold a model"
    if not name(path).startswith(CLUSTER_PLACES):
        assert "kubernetes" not in top(modules), "the cluster's API is asked in few places"


@pytest.mark.parametrize("ground", ["errors", "identity", "settings", "records", "progress", "processes", "store"])
def test_the_ground_floor_stands_on_itself(ground: str) -> None:
    floor = {f"components.{one}" for one in ("errors", "identity", "settings", "records", "progress", "store")}
    modules = {module for module in imported(ROOT / f"components/{ground}.py") if module.startswith("components")}
    assert modules <= floor


@pytest.mark.parametrize(
    "stage", ["sampling.sampling", "judging.judging", "pairs.pairs", "prompts.prompts", "evaluation.evaluation"]
)
def test_a_step_that_only_talks_to_servers_starts_without_torch_and_kfp(stage: str) -> None:
    code = f"import sys, components.{stage}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not (HEAVY | {"kfp", "mlflow", "boto3"}) & set(loaded.split())


@pytest.mark.parametrize("stage", ["sft.sft", "dpo.dpo", "base_model.base_model"])
def test_a_training_step_that_finds_its_work_done_starts_without_torch(stage: str) -> None:
    code = f"import sys, components.{stage}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(loaded.split())


def test_functions_and_files_are_small() -> None:
    """Median near 10 lines, 90th percentile near 40, none above 100; no file above 400."""
    sizes = [
        node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    assert statistics.median(sizes) <= 12
    assert statistics.quantiles(sizes, n=10)[-1] <= 40
    assert max(sizes) <= 100
    assert max(path.read_text().count("\n") for path in FILES) <= 400
