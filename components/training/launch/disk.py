"""How much disk a training takes on its node."""

from __future__ import annotations

from components.core.stage import read_manifest

FP32 = 4
CHECKPOINT = 3 * FP32  # a weight and Adam's two moments; each node keeps its share of them


def training_bytes(own: float, parameters: float, nodes: int) -> float:
    """The model that is trained, whose files take `own` bytes; its checkpoint; the new one, in fp32."""
    return own + parameters * (FP32 + CHECKPOINT / nodes)


def bytes_to_train(uri: str, nodes: int) -> float:
    """The same of a model in the store."""
    manifest = read_manifest(uri)
    width = FP32 / 2 if manifest.settings.get("save_dtype") == "bfloat16" else FP32
    return training_bytes(manifest.size, manifest.counts.kept.get("parameters", manifest.size / width), nodes)
