"""From logits to the next token, each sequence with its own settings and random numbers; and its log-probabilities."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

# Dividing by less overflows float32; at this temperature the most likely token already has all the mass.
_LOWEST_TEMPERATURE = 1e-4
# Sequences at a time on a CPU: what is made of their logits stays in its cache, and in memory that the process has.
_CPU_ROWS = 8


@dataclass
class Sampler:
    """How one request's tokens are chosen: greedy at temperature 0, otherwise temperature, then top_k, then top_p.

    One uniform number a token comes from the request's own seed, so its text does not depend on its neighbours.
    """

    seed: int
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    rng: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)


@dataclass(frozen=True)
class TokenLogprobs:
    """A generated token by id, and (id, log-probability) of the likeliest at its place, likeliest first."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


def choose_tokens(logits: Tensor, samplers: list[Sampler]) -> list[int]:
    """One token a sequence from logits [batch, vocabulary]."""
    rows = _CPU_ROWS if logits.device.type == "cpu" else len(samplers)
    pieces = range(0, len(samplers), rows)
    return [token for at in pieces for token in _chosen(logits[at : at + rows], samplers[at : at + rows])]


def _chosen(logits: Tensor, samplers: list[Sampler]) -> list[int]:
    drawn = [index for index, sampler in enumerate(samplers) if sampler.temperature > 0]
    if len(drawn) == len(samplers):
        return _draw(logits.float(), samplers).tolist()
    tokens = logits.argmax(dim=-1)
    if drawn:
        tokens[drawn] = _draw(logits[drawn].float(), [samplers[index] for index in drawn])
    return tokens.tolist()


def _draw(logits: Tensor, samplers: list[Sampler]) -> Tensor:
    temperatures = logits.new_tensor([max(s.temperature, _LOWEST_TEMPERATURE) for s in samplers])
    probabilities = (logits / temperatures[:, None]).softmax(dim=-1)
    filtered = [index for index, sampler in enumerate(samplers) if sampler.top_k is not None or sampler.top_p < 1.0]
    if len(filtered) == len(samplers):
        probabilities = _filtered(probabilities, samplers)
    elif filtered:
        probabilities[filtered] = _filtered(probabilities[filtered], [samplers[index] for index in filtered])
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    uniforms = cumulative.new_tensor([sampler.rng.random() for sampler in samplers])
    # `right=True`: a token without mass is never the answer, not even when the uniform number is 0.
    return torch.searchsorted(cumulative, (uniforms * cumulative[:, -1])[:, None], right=True)[:, 0]


def _filtered(probabilities: Tensor, samplers: list[Sampler]) -> Tensor:
    """Probabilities [sequences, vocabulary] with those outside top_k and top_p set to 0 (not normalised again).

    All sequences at once: on a GPU a step of 64 of them, one by one, waited longer for this than for the model.
    """
    vocabulary = probabilities.shape[1]
    top_k = torch.tensor([sampler.top_k or vocabulary for sampler in samplers], device=probabilities.device)[:, None]
    top_p = torch.tensor([sampler.top_p for sampler in samplers], dtype=torch.float64).to(probabilities.device)[:, None]
    # A few hundred tokens mostly do.
    count = max(256, *(sampler.top_k or 0 for sampler in samplers))
    values = _largest(probabilities, count)
    if count < vocabulary and bool(((values.sum(1, dtype=torch.float64)[:, None] < top_p) & (top_k > count)).any()):
        values = _largest(probabilities, vocabulary)
    among_top_k = torch.arange(values.shape[1], device=values.device) < top_k
    before = values.cumsum(dim=1, dtype=torch.float64) - values
    # top_p is a share of what top_k left over.
    mass = values.where(among_top_k, 0.0).sum(1, dtype=torch.float64)[:, None].where(top_k < vocabulary, 1.0)
    kept = (among_top_k & (before < top_p * mass)).sum(dim=1, keepdim=True).clamp(min=1)  # the most likely one stays
    return _only(probabilities, kept, values.gather(1, kept - 1))


def _largest(probabilities: Tensor, count: int) -> Tensor:
    """Of each row so many, the largest first. On a CPU by NumPy, whose sorting has vector instructions: of 48 x 49,152
    it finds 256 in a quarter of `topk`'s time, and sorts all in a thirtieth.
    """
    vocabulary = probabilities.shape[1]
    if probabilities.device.type != "cpu":
        return probabilities.topk(min(count, vocabulary)).values
    ordered = -probabilities.numpy()
    if count < vocabulary:
        ordered = np.partition(ordered, count, axis=1)[:, :count]
    return torch.from_numpy(-np.sort(ordered, axis=1))


def _only(probabilities: Tensor, kept: Tensor, least: Tensor) -> Tensor:
    """`probabilities` with 0 for all but `kept` in each row, of which `least` is the smallest; both [rows, 1]."""
    stay = probabilities >= least
    if bool(((surplus := stay.sum(dim=1, keepdim=True) - kept) > 0).any()):  # equals of the smallest, the last first
        equal = probabilities == least
        stay &= ~equal | (equal.cumsum(dim=1) <= equal.sum(dim=1, keepdim=True) - surplus)
    return probabilities * stay


def token_logprobs(
    logits: Tensor, chosen: Sequence[int], top_logprobs: Sequence[int | None]
) -> dict[int, TokenLogprobs]:
    """Log-probabilities of the tokens that were chosen from logits [batch, vocabulary], by the sequence's index.

    `top_logprobs`: how many of the likeliest tokens each sequence wants; those with None are left out and cost nothing.
    Natural logarithms of the model's own distribution: temperature 1, the whole vocabulary, whatever the sampler then
    made of it. So do OpenAI and, by default, vLLM (`raw_logprobs`). TGI takes them after temperature, top-k and top-p;
    for a greedy request, the only one that AlpacaEval's question needs, that is the same.
    """
    wanted = {index: count for index, count in enumerate(top_logprobs) if count is not None}
    if not wanted:
        return {}
    reported: dict[int, TokenLogprobs] = {}
    for (index, count), logprobs in zip(wanted.items(), logits[list(wanted)].float().log_softmax(dim=-1), strict=True):
        values, tokens = logprobs.topk(min(count, logprobs.shape[0]))
        likeliest = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
        reported[index] = TokenLogprobs(chosen[index], float(logprobs[chosen[index]]), likeliest)
    return reported
