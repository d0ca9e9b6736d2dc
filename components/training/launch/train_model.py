"""The step that trains a model: in its own pod, or by a TrainJob that it follows."""

from __future__ import annotations

from components.core.context import open_step
from components.training.launch.launch import train_stage
from components.training.launch.request import TrainingRequest


def train_model(run: str, name: str, kind: str, inputs: dict[str, str]) -> str:
    """Make the stage `kind` (sft or dpo) of the model `name`; returns its URI. `inputs` are URIs by role."""
    with open_step(run, f"train {name.upper()}") as context:
        if kind == "dpo":
            inputs = {**inputs, "judge_endpoint": context.judge_endpoint}
        request = TrainingRequest(kind=kind, root=context.store, settings=context.recipe[kind], inputs=inputs)
        pods = (context.recipe["resources"], context.recipe["cluster"], context.trainer_image)
        return context.make(f"{name}/{kind}", lambda: train_stage(request, *pods, context.run, name))
