"""Log-probabilities of generated tokens, for the rows whose callers ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TokenLogprobs:
    """A generated token by id, and (id, log-probability) of the likeliest at its place, likeliest first."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


def token_logprobs(
    logits: Tensor, chosen: Sequence[int], alternatives: Sequence[int | None]
) -> dict[int, TokenLogprobs]:
    """Log-probabilities of the tokens that were chosen from logits [rows, vocabulary], by row.

    `alternatives`: how many of the likeliest tokens each row wants; rows with None are left out and cost nothing.
    Natural logarithms of the model's own distribution: temperature 1, the whole vocabulary, whatever the sampler then
    made of it. So do OpenAI and, by default, vLLM (`raw_logprobs`). TGI takes them after temperature, top-k and top-p;
    for a greedy request, the only one that AlpacaEval's question needs, that is the same.
    """
    asked = [row for row, count in enumerate(alternatives) if count is not None]
    if not asked:
        return {}
    logprobs = logits[asked].float().log_softmax(dim=-1)
    return {row: _one(logprobs[place], chosen[row], alternatives[row] or 0) for place, row in enumerate(asked)}


def _one(logprobs: Tensor, token: int, count: int) -> TokenLogprobs:
    values, tokens = logprobs.topk(min(count, logprobs.shape[0]))
    return TokenLogprobs(token, float(logprobs[token]), tuple(zip(tokens.tolist(), values.tolist(), strict=True)))
