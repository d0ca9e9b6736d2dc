"""From logits to the next token, each row with its own settings and its own random numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Dividing by less overflows float32; at this temperature the most likely token already has all the mass.
_LOWEST_TEMPERATURE = 1e-4


@dataclass
class Sampler:
    """How one request's tokens are chosen: greedy at temperature 0, otherwise temperature, then top_k, then top_p.

    One uniform number a token comes from the request's own seed, so its text does not depend on its neighbours.
    """

    seed: int
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    @property
    def filtered(self) -> bool:
        return self.top_k is not None or self.top_p < 1.0

    def uniform(self) -> float:
        """The next number in [0, 1)."""
        return self._random.random()


def choose_tokens(logits: Tensor, samplers: list[Sampler]) -> list[int]:
    """One token a row from logits [rows, vocabulary]."""
    tokens = logits.argmax(dim=-1)
    drawn = [row for row, sampler in enumerate(samplers) if not sampler.greedy]
    if drawn:
        tokens[drawn] = _draw(logits[drawn].float(), [samplers[row] for row in drawn])
    return tokens.tolist()


def _draw(logits: Tensor, samplers: list[Sampler]) -> Tensor:
    temperatures = logits.new_tensor([max(s.temperature, _LOWEST_TEMPERATURE) for s in samplers])
    probabilities = (logits / temperatures[:, None]).softmax(dim=-1)
    for row, sampler in enumerate(samplers):
        if sampler.filtered:
            probabilities[row] = _filtered(probabilities[row], sampler)
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    uniforms = cumulative.new_tensor([sampler.uniform() for sampler in samplers])
    # `right=True`: a token without mass is never the answer, not even when the uniform number is 0.
    return torch.searchsorted(cumulative, (uniforms * cumulative[:, -1])[:, None], right=True)[:, 0]


def _filtered(probabilities: Tensor, sampler: Sampler) -> Tensor:
    """Probabilities [vocabulary] with those outside top_k and top_p set to 0 (not normalised again)."""
    values, tokens = _most_likely(probabilities, sampler)
    before = values.cumsum(dim=0, dtype=torch.float64) - values
    # top_p is a share of what top_k left over; the most likely token always stays.
    mass = values.sum(dtype=torch.float64) if sampler.top_k is not None else 1.0
    kept = before < sampler.top_p * mass
    kept[0] = True
    return torch.zeros_like(probabilities).scatter(0, tokens[kept], values[kept])


def _most_likely(probabilities: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """The most likely tokens, sorted: top_k of them, or else enough to hold top_p of the mass."""
    size = probabilities.shape[0]
    if sampler.top_k is not None:
        return probabilities.topk(min(sampler.top_k, size))
    count = min(256, size)
    values, tokens = probabilities.topk(count)
    # Sorting the whole vocabulary at every step would cost more than the model; a few hundred tokens mostly do.
    while count < size and values.sum(dtype=torch.float64) < sampler.top_p:
        count = min(8 * count, size)
        values, tokens = probabilities.topk(count)
    return values, tokens
