"""Compile a recipe to the YAML that runs on a cluster and, through kfp.local, on a laptop."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from components.core.errors import UserError
from components.core.hashing import content_hash
from components.core.local_files import write_whole
from pipelines.graph.package import finish_package
from pipelines.graph.self_rewarding import self_rewarding_pipeline
from pipelines.graph.size import require_room
from pipelines.lint import lint
from pipelines.recipe import Recipe, load_recipe


def compile_recipe(recipe: Recipe, path: Path, part: int = 1) -> str:
    """Write the compiled loop (of a long run one part of it) to `path`; returns its version."""
    return compile_pipeline(self_rewarding_pipeline(recipe, part), path)


def compile_pipeline(pipeline: Any, path: Path, images: Mapping[str, str] | None = None) -> str:
    """Write a compiled pipeline to `path` and return its version; nothing half-written or unsound is ever there.

    `images` become the defaults of its parameters of those names, e.g. worker_image by digest. Raises UserError that
    lists what would not run.
    """
    documents = package(pipeline, images)
    write_documents(path, documents)
    return version_of(documents)


def compile_manifests(pipeline: Any, path: Path, namespace: str = "", images: Mapping[str, str] | None = None) -> str:
    """Write the resources Pipeline and PipelineVersion for `kubectl apply --server-side`; returns the version.

    The version's name holds its content: what a PipelineVersion specifies can never be changed.
    """
    documents = package(pipeline, images)
    version = version_of(documents)
    options = KubernetesManifestOptions(
        pipeline_version_name=version, namespace=namespace or None, include_pipeline_manifest=True
    )
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "manifests.yaml"
        compiler.Compiler().compile(
            pipeline, str(draft), kubernetes_manifest_format=True, kubernetes_manifest_options=options
        )
        manifests = list(yaml.safe_load_all(draft.read_text()))
    for manifest in manifests:
        if manifest["kind"] == "PipelineVersion":
            manifest["spec"] |= dict(zip(("pipelineSpec", "platformSpec"), documents, strict=True))
    write_documents(path, manifests)
    return version


def package(pipeline: Any, images: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The documents of a compiled pipeline: what runs, and what Kubernetes is told about it."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(draft))
        documents = list(yaml.load_all(draft.read_text(), Loader=yaml.CSafeLoader))
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    for name, image in (images or {}).items():
        parameters[name]["defaultValue"] = image or parameters[name]["defaultValue"]
    finish_package(*documents)
    check_package(documents)
    require_room(documents)
    return documents


def write_documents(path: Path, documents: Sequence[dict[str, Any]]) -> None:
    """All documents or, where something fails, what was there before."""
    write_whole(path, yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=True))


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
    return load_recipe(name_or_path, overrides, elsewhere=True)
