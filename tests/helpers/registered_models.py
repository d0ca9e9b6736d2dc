"""Tiny models with their measurements, as the stages that a run would leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from components.core.records import Counts, CurvePoint, Observation, Parent
from components.core.settings import Settings
from components.core.stage import Stage, parent
from components.core.store import join
from components.gate.gate import GatedModel, pass_gate
from components.gate.settings import GateSettings
from components.registry.model_run import TrainedModel

ITEMS = 40
OUTSIDE = {"messages": Parent(uri="s3://somebody-elses/messages.jsonl", digest="d0")}


def make_model(root: Path | str, weights: str, parents: Mapping[str, Parent] = OUTSIDE) -> str:
    """A finished sft stage whose model file holds the text `weights`."""
    stage = Stage(str(root), "sft", Settings(), {**parents, "weights": Parent(uri="made up", digest=weights)})
    curve = [CurvePoint(id=str(step), step=step, values={"loss": 1 / step}) for step in (1, 2)]
    with TemporaryDirectory() as folder:
        (Path(folder) / "model.safetensors").write_text(weights)
        stage.publish(Counts(kept={"examples": 2}), {"curve": curve}, Path(folder), metrics={"final_loss": 0.5})
    return stage.uri


def measure(root: Path | str, model: str, right: int, seed_data: str = "seeds") -> str:
    """A finished evaluation: of ITEMS prompts with a pair each, the judge orders the first `right` as people did."""
    stage = Stage(str(root), "evaluation", Settings(), {"model": parent(model), **seed(seed_data)})
    metric = "pairwise_accuracy"
    observed = [
        Observation(id=f"{metric}/p{n}", metric=metric, item=f"p{n}", values=[float(n < right), 1.0])
        for n in range(ITEMS)
    ]
    stage.publish(Counts(), {"observations": observed}, metrics={metric: right / ITEMS})
    return stage.uri


def seed(digest: str) -> dict[str, Parent]:
    return {"seed_data": Parent(uri=f"seed data {digest}", digest=digest)}


def trained(root: Path | str, name: str, alias: str, right: int = 20, run: str = "run-1") -> TrainedModel:
    """A measured model of a run; its weights are its alias."""
    uri = make_model(root, alias)
    return TrainedModel(name, alias, uri, [measure(root, uri, right)], run)


def policy(name: str, **rules: Any) -> GateSettings:
    """Promote what orders more pairs as people did, by proof; `rules` are other settings."""
    return GateSettings(registered_name=name, improve={"pairwise_accuracy": 0.0}, resamples=200, min_items=10, **rules)


def gated(root: Path | str, tracking_uri: str, model: TrainedModel, previous: Sequence[str] = (), **rules: Any) -> str:
    """The URI of the gate's stage for a model."""
    candidate = GatedModel(model.uri, model.measured, previous)
    made = pass_gate(str(root), policy(model.registered_name, **rules), candidate, tracking_uri)
    return join(str(root), made.stage, made.key)


def model_file(uri: str) -> Path:
    return next(Path(uri).glob("files-*/model.safetensors"))
