"""Compile a recipe to the YAML that runs on a cluster and, through kfp.local, on a laptop."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from kfp import compiler

from pipelines.recipe import Recipe
from pipelines.self_rewarding import self_rewarding_pipeline


def compile_recipe(recipe: Recipe, path: Path) -> None:
    """Write the compiled loop to `path`."""
    compile_pipeline(self_rewarding_pipeline(recipe), path)


def compile_pipeline(pipeline: Any, path: Path) -> None:
    """Write a compiled pipeline to `path`; nothing half-written is ever there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(draft))
        os.replace(draft, path)
