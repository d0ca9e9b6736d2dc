"""The alignment tax: figures of the lm-eval harness as rules of the gate, with the standard errors that it gives."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from components.core.records import Manifest
from components.gate.decide import decide
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Resampling, difference, interval
from components.metrics.observations import published
from components.metrics.statistics import METRICS

GSM8K = "benchmark_gsm8k_exact_match_strict-match"
POLICY = GatePolicy(regress={GSM8K: 0.02}, floors={GSM8K: 0.1})


Figures = dict[str, dict[str, tuple[float, ...]]]


def gsm8k(value: float, error: float = 0.01, questions: float = 1319, how: str = "8 shots") -> Figures:
    return {GSM8K: {how: (value, error, questions)}}


def test_a_figure_has_the_interval_of_its_standard_error() -> None:
    """0.5 with 0.01: 1.96 errors on either side at 95 %."""
    estimate = interval(METRICS[GSM8K], gsm8k(0.5)[GSM8K], Resampling())
    assert (estimate.value, estimate.items) == (0.5, 1319)
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - 0.0196, 0.5 + 0.0196), abs=1e-4)


def test_the_errors_of_two_models_add_up() -> None:
    """0.03 and 0.04 are 0.05 together, of fewer questions the fewer."""
    one, other = gsm8k(0.5, 0.03, 100)[GSM8K], gsm8k(0.4, 0.04, 90)[GSM8K]
    estimate = difference(METRICS[GSM8K], one, other, Resampling())
    assert (estimate.value, estimate.items) == (pytest.approx(0.1), 90)
    assert (estimate.low, estimate.high) == pytest.approx((0.1 - 0.098, 0.1 + 0.098), abs=1e-4)


@pytest.mark.parametrize(
    ("before", "after", "decision"),
    [
        (0.56, 0.50, "stop"),  # -0.06, at least -0.0323: more than the 0.02 allowed
        (0.56, 0.53, "promote"),  # -0.03, perhaps no more than 0.0023
        (0.56, 0.60, "promote"),
    ],
)
def test_a_proven_alignment_tax_stops_the_run(before: float, after: float, decision: str) -> None:
    verdict = decide(gsm8k(after), None, POLICY, gsm8k(before))
    assert verdict.decision == decision
    assert (decision == "stop") == (f"{GSM8K} changed by -0.060" in verdict.reasons[0])


def test_a_floor_is_absolute() -> None:
    assert decide(gsm8k(0.05), None, POLICY, {}).decision == "stop"
    assert decide(gsm8k(0.09), None, POLICY, {}).decision == "promote"  # up to 0.1096


@pytest.mark.parametrize(
    "before",
    [{}, gsm8k(0.9, how="5 shots"), gsm8k(0.9, math.nan), gsm8k(0.9, questions=29)],
    ids=["not measured", "measured otherwise", "no standard error", "too few questions"],
)
def test_what_cannot_be_compared_stops_nothing(before: Figures) -> None:
    verdict = decide(gsm8k(0.5), None, POLICY, {"parse_rate": {}} | before)
    assert verdict.decision == "promote"
    assert {check.outcome for check in verdict.checks if check.id == f"regression/{GSM8K}"} == {"unknown"}


def test_figures_are_read_with_the_error_of_their_own_filter() -> None:
    """The harness names them gsm8k: exact_match,strict-match and exact_match_stderr,strict-match."""
    metrics = {
        GSM8K: 0.5,
        f"{GSM8K}_items": 1319.0,
        "benchmark_gsm8k_exact_match_stderr_strict-match": 0.01,
        "benchmark_gsm8k_exact_match_flexible-extract": 0.6,
        "benchmark_gsm8k_exact_match_flexible-extract_items": 1319.0,
        "benchmark_gsm8k_exact_match_stderr_flexible-extract": 0.02,
        "benchmark_wikitext_word_perplexity": 12.0,
        "benchmark_wikitext_word_perplexity_items": 62.0,
        "win_rate": 0.5,
    }
    common = {"version": 1, "key": "k", "digest": "d", "parents": {}, "files": {}, "counts": {}, "seconds": 0}
    manifest = Manifest(stage="benchmarks", metrics=metrics, settings={}, code="", created="", **common)
    found = {name: next(iter(values.values())) for name, values in published(manifest).items()}
    assert found[GSM8K] == (0.5, 0.01, 1319)
    assert found["benchmark_gsm8k_exact_match_flexible-extract"] == (0.6, 0.02, 1319)
    assert math.isnan(found["benchmark_wikitext_word_perplexity"][1])
    assert len(found) == 3


def test_only_benchmarks_may_have_names_that_nobody_knows() -> None:
    assert GatePolicy(ceilings={"benchmark_wikitext_word_perplexity": 20}).ceilings
    with pytest.raises(ValidationError, match="there is no metric bench_gsm8k"):
        GatePolicy(regress={"bench_gsm8k": 0.1})
