"""Properties of token sampling, on distributions small enough to work out by hand."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from components.serving.embedded.decoding.sampling import Sampler, choose_tokens, token_logprobs

# Probabilities 0.1, 0.4, 0.2, 0.3 at temperature 1.
LOGITS = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()


def draws(count: int, **settings: float) -> list[int]:
    sampler = Sampler(seed=7, **settings)
    return [choose_tokens(LOGITS[None], [sampler])[0] for _ in range(count)]


def test_greedy_takes_the_most_likely() -> None:
    assert draws(3) == [1, 1, 1]


def test_draws_follow_the_probabilities() -> None:
    """5,000 draws: the standard error of a share is at most sqrt(0.25 / 5000) = 0.007; 0.03 is more than 4 of them."""
    counts = Counter(draws(5000, temperature=1.0))
    for token, probability in enumerate((0.1, 0.4, 0.2, 0.3)):
        assert counts[token] / 5000 == pytest.approx(probability, abs=0.03)


def test_temperature_sharpens() -> None:
    """At temperature 0.5 probabilities are squared: 0.01, 0.16, 0.04, 0.09 of 0.30, so token 1 has 0.533."""
    assert Counter(draws(5000, temperature=0.5))[1] / 5000 == pytest.approx(0.16 / 0.30, abs=0.03)


def test_top_k_keeps_k_tokens() -> None:
    assert set(draws(500, temperature=1.0, top_k=2)) == {1, 3}


def test_top_p_keeps_the_smallest_set_with_that_mass() -> None:
    """0.4 < 0.65 <= 0.4 + 0.3, so two tokens stay; 0.75 needs a third."""
    assert set(draws(500, temperature=1.0, top_p=0.65)) == {1, 3}
    assert set(draws(500, temperature=1.0, top_p=0.75)) == {1, 2, 3}


def test_top_p_is_a_share_of_what_top_k_left() -> None:
    """top_k=2 leaves 0.4 and 0.3, of which 0.4 is 0.571: with top_p 0.55 one token stays, with 0.6 two."""
    assert set(draws(200, temperature=1.0, top_k=2, top_p=0.55)) == {1}
    assert set(draws(200, temperature=1.0, top_k=2, top_p=0.6)) == {1, 3}


def test_top_p_over_a_flat_large_vocabulary() -> None:
    """1,000 equal tokens at top_p 0.5: 500 of them stay, more than the most likely 256, which are sorted first."""
    sampler = Sampler(seed=1, temperature=1.0, top_p=0.5)
    seen = {choose_tokens(torch.zeros(1, 1000), [sampler])[0] for _ in range(8000)}
    assert len(seen) == 500


def test_top_k_beyond_what_is_sorted_first() -> None:
    """300 tokens, the first as likely as the 299 others together: top_k=300 leaves all, of which top_p 0.75 keeps the
    first (0.5) and 0.25 / (0.5 / 299) = 150 others. Beside it in the batch stands one that keeps a single token."""
    logits = torch.zeros(1, 300)
    logits[0, 0] = math.log(299)
    pair = [Sampler(seed=1, temperature=1.0, top_k=300, top_p=0.75), Sampler(seed=2, temperature=1.0, top_p=0.4)]
    seen = [choose_tokens(logits.repeat(2, 1), pair) for _ in range(4000)]
    assert len({first for first, _ in seen}) == 151
    assert {second for _, second in seen} == {0}


def test_a_tiny_temperature_is_greedy_and_finite() -> None:
    assert draws(20, temperature=1e-30) == [1] * 20


def test_the_seed_decides_and_neighbours_do_not() -> None:
    logits = torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    samplers = [Sampler(seed=index, temperature=0.9, top_p=0.9 if index % 2 else 1.0) for index in range(4)]
    together = choose_tokens(logits, [*samplers, Sampler(seed=9)])
    alone = [
        choose_tokens(
            logits[index : index + 1], [Sampler(seed=index, temperature=0.9, top_p=0.9 if index % 2 else 1.0)]
        )[0]
        for index in range(4)
    ]
    assert together[:4] == alone
    assert together[4] == int(logits[4].argmax())


def test_logprobs_are_of_the_tokens_chosen_and_of_the_likeliest() -> None:
    """Of 0.1, 0.4, 0.2, 0.3 token 2 has ln 0.2, and the likeliest two are token 1 with ln 0.4 and 3 with ln 0.3.

    The logits are shifted by 5, which changes no probability; the second sequence does not ask."""
    found = token_logprobs((LOGITS + 5).repeat(3, 1), chosen=[2, 1, 0], top_logprobs=[2, None, 0])
    assert (found[0].token, found[0].logprob) == (2, pytest.approx(math.log(0.2), abs=1e-6))
    assert [token for token, _ in found[0].likeliest] == [1, 3]
    assert [value for _, value in found[0].likeliest] == pytest.approx([math.log(0.4), math.log(0.3)], abs=1e-6)
    assert (found[2].logprob, found[2].likeliest) == (pytest.approx(math.log(0.1), abs=1e-6), ())
    assert set(found) == {0, 2}


def test_more_likeliest_than_the_vocabulary_are_all_of_it() -> None:
    assert [token for token, _ in token_logprobs(LOGITS[None], [0], [20])[0].likeliest] == [1, 3, 2, 0]
