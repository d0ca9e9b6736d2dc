"""The model's forward passes, and nothing else that knows how `transformers` is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.serving.embedded.attention import IMPLEMENTATION
from components.serving.embedded.kv import Layers, Prefix, ReadKeys, RowKeys
from components.serving.embedded.metrics import Metrics


class Forward:
    """Reads prompts and makes next-token logits; counts both. Switches the model to shared-prefix attention."""

    def __init__(self, model: PreTrainedModel, metrics: Metrics) -> None:
        self._model = model
        self._metrics = metrics
        self._device = model.device
        model.set_attn_implementation(IMPLEMENTATION)
        # One token tells the shapes of any architecture's keys; none of them is kept.
        probe = self._read([(0,)], None)
        self.empty_prefix = Prefix((), [(k[0, :, :0], v[0, :, :0]) for k, v in probe])

    @torch.inference_mode()
    def read(self, token_rows: Sequence[tuple[int, ...]], prefix: Prefix) -> Layers:
        """Keys and values of tokens that follow a prefix: for each layer [rows, kv_heads, longest row, head_dim].

        Shorter rows are padded on the right; what lies beyond their end must stay hidden.
        """
        if not max(map(len, token_rows)):
            return [
                (k.expand(len(token_rows), *k.shape), v.expand(len(token_rows), *v.shape))
                for k, v in self.empty_prefix.layers
            ]
        self._metrics.prefill_tokens.add(sum(map(len, token_rows)))
        return self._read(token_rows, prefix)

    @torch.inference_mode()
    def _read(self, token_rows: Sequence[tuple[int, ...]], prefix: Prefix | None) -> Layers:
        longest = max(map(len, token_rows))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in token_rows], device=self._device)
        positions = torch.arange(longest, device=self._device) + (len(prefix) if prefix else 0)
        causal = torch.ones(longest, longest, dtype=torch.bool, device=self._device).tril()
        keys = ReadKeys()
        # The base model alone: nobody needs logits here, decoding starts from the last prompt token.
        self._model.base_model(
            input_ids=ids,
            position_ids=positions.expand(len(token_rows), -1),
            attention_mask=causal[None, None],
            past_key_values=keys,
            use_cache=True,
            **_shared(prefix),
        )
        self._metrics.forward_passes.add(1)
        return keys.collected

    @torch.inference_mode()
    def next_logits(self, tokens: list[int], positions: list[int], prefix: Prefix, keys: RowKeys) -> Tensor:
        """Logits [rows, vocabulary] after each row's next token, whose keys and values are added to `keys`."""
        mask = keys.begin_step(self._device)
        output = self._model(
            input_ids=torch.tensor(tokens, device=self._device)[:, None],
            position_ids=torch.tensor(positions, device=self._device)[:, None],
            attention_mask=mask,
            past_key_values=keys,
            use_cache=True,
            **_shared(prefix),
        )
        keys.end_step()
        self._metrics.forward_passes.add(1)
        return output.logits[:, -1]


def _shared(prefix: Prefix | None) -> dict[str, Any]:
    return {"shared_layers": prefix.layers} if prefix else {}
