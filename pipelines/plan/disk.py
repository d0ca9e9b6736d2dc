"""How much disk a run's pods take, where the model's size is known; 0 where it is not (issue 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.kubernetes.settings import ImporterPods
from components.training.launch.disk import CHECKPOINT, FP32, training_bytes
from components.training.shape import shape_of

if TYPE_CHECKING:
    from pipelines.recipe import Recipe


def parameters_of(recipe: Recipe) -> int:
    """Weights of M0."""
    shape = shape_of(recipe.model.base)
    return shape.parameters if shape else 0


def import_disk(recipe: Recipe) -> float:
    """What is imported, in fp32 at most, and the source of one of them beside it."""
    bases = {model.base for model in (recipe.model, recipe.writer, recipe.annotator) if model}
    shapes = [shape_of(base) for base in bases]
    sizes = [FP32 * shape.parameters for shape in shapes if shape]
    return sum(sizes) + max(sizes) if len(sizes) == len(shapes) else 0


def importer_pods(recipe: Recipe) -> ImporterPods:
    """The importer with its disk: of models of unknown size as much as trainers have."""
    pods = recipe.cluster.importer.holding(import_disk(recipe))
    if pods.disk or pods.disk_limit:
        return pods
    return pods.model_copy(update={name: recipe.resources.amount(name) or "0" for name in ("disk", "disk_limit")})


def training_disk(recipe: Recipe) -> float:
    """Of one training on each node."""
    parameters = parameters_of(recipe)
    return training_bytes(FP32 * parameters, parameters, recipe.resources.nodes)


def run_disk(recipe: Recipe, parameters: int = 0) -> float:
    """Of a pod (or a machine) that does all of a run: it keeps what is imported and each model that it trains.

    `parameters` are M0's where they are known by other means; then it is taken to be all that is imported.
    """
    imported = 2 * FP32 * parameters or import_disk(recipe)
    models = recipe.rounds + (2 if recipe.trains_baseline else 1)
    return imported + (parameters or parameters_of(recipe)) * (FP32 * models + CHECKPOINT) if imported else 0
