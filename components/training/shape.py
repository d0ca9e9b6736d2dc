"""How large a model is: what memory and time follow from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shape:
    """A decoder of Llama's kind: gated feed-forward layers, grouped queries, no biases."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int
    tied: bool = False

    @property
    def linear(self) -> list[tuple[int, int]]:
        """Inputs and outputs of one layer's matrices: q, k, v, o, gate, up, down."""
        keys = self.hidden // self.heads * self.kv_heads
        attention = [(self.hidden, self.hidden), (self.hidden, keys), (self.hidden, keys), (self.hidden, self.hidden)]
        return [*attention, *[(self.hidden, self.intermediate)] * 2, (self.intermediate, self.hidden)]

    @property
    def layer(self) -> int:
        """Weights of one layer, with its two norms."""
        return sum(inputs * outputs for inputs, outputs in self.linear) + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All weights: the layers, what is before and after them, and the last norm."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * self.layer + embeddings + self.hidden

    def adapters(self, rank: int) -> int:
        """Weights of LoRA on all linear layers but the last (peft's all-linear)."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.linear)


# From their config.json on the hub, which may not be reachable, or gated, where a recipe is read.
LLAMA_2_70B = Shape(80, 8192, 28672, 64, 8, 32000, 4096)
LLAMA_3_8B = Shape(32, 4096, 14336, 32, 8, 128256, 8192)
SHAPES = {
    "meta-llama/Llama-2-70b-hf": LLAMA_2_70B,
    "meta-llama/Llama-2-70b-chat-hf": LLAMA_2_70B,
    "meta-llama/Meta-Llama-3-8B": LLAMA_3_8B,
    "meta-llama/Meta-Llama-3-8B-Instruct": LLAMA_3_8B,
}


def shape_of(base: str) -> Shape | None:
    """The shape of `model.base`: known by its name, or read from its folder; None where neither says it."""
    if base in SHAPES:
        return SHAPES[base]
    path = Path(base) / "config.json"
    return shape_from(json.loads(path.read_text())) if path.is_file() else None


def shape_from(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json tells; None where it is of another kind."""
    needed = {"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size"}
    if not {*needed, "max_position_embeddings"} <= set(config):
        return None
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=config["num_attention_heads"],
        kv_heads=config.get("num_key_value_heads", config["num_attention_heads"]),
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        tied=bool(config.get("tie_word_embeddings")),
    )
