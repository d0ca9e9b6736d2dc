"""Compile a recipe to the YAML that runs on a cluster and, through kfp.local, on a laptop."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from components.core.errors import UserError
from components.core.hashing import content_hash
from pipelines.graph.self_rewarding import self_rewarding_pipeline
from pipelines.lint import lint
from pipelines.recipe import Recipe, load_recipe, shipped_recipes


def compile_recipe(recipe: Recipe, path: Path) -> None:
    """Write the compiled loop to `path`."""
    compile_pipeline(self_rewarding_pipeline(recipe), path)


def compile_pipeline(pipeline: Any, path: Path) -> str:
    """Write a compiled pipeline to `path` and return its version; nothing half-written or unsound is ever there.

    Raises UserError that lists what would not run.
    """
    with tempfile.TemporaryDirectory(dir=_folder(path)) as folder:
        draft = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(draft))
        documents = list(yaml.safe_load_all(draft.read_text()))
        check_package(documents)
        os.replace(draft, path)
    return version_of(documents)


def compile_manifests(pipeline: Any, path: Path, namespace: str = "") -> str:
    """Write the resources Pipeline and PipelineVersion for `kubectl apply --server-side`; returns the version.

    The version's name holds its content: what a PipelineVersion specifies can never be changed.
    """
    with tempfile.TemporaryDirectory(dir=_folder(path)) as folder:
        draft = Path(folder) / "manifests.yaml"
        version = compile_pipeline(pipeline, Path(folder) / "pipeline.yaml")
        options = KubernetesManifestOptions(
            pipeline_version_name=version, namespace=namespace or None, include_pipeline_manifest=True
        )
        compiler.Compiler().compile(
            pipeline, str(draft), kubernetes_manifest_format=True, kubernetes_manifest_options=options
        )
        os.replace(draft, path)
    return version


def version_of(documents: Sequence[dict[str, Any]]) -> str:
    """A name for exactly this compiled pipeline, e.g. `demo-0f3a5c7e91`."""
    return f"{documents[0]['pipelineInfo']['name']}-{content_hash(list(documents))[:10]}"


def check_package(documents: Sequence[dict[str, Any]]) -> None:
    """Raises UserError with all that the lint finds."""
    if found := lint(documents):
        raise UserError(
            "the compiled pipeline would not run:\n" + "\n".join(f"  {mistake}" for mistake in found) + "\n",
            "Correct the graph in pipelines/; each line names the pipeline and the step in it.",
        )


def load_recipe_for_elsewhere(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe whose relative files stay relative: a pod reads them from its own working directory."""
    path = Path(name_or_path)
    if name_or_path not in shipped_recipes() and path.is_file():
        name_or_path = str(path.absolute())
    with tempfile.TemporaryDirectory() as nowhere, chdir(nowhere):
        return load_recipe(name_or_path, overrides)


def _folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent
