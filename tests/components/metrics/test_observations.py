"""Observations: kept by a stage, read again by the gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.records import Counts
from components.core.settings import Settings
from components.core.stage import Stage
from components.metrics.bootstrap import Resampling
from components.metrics.observations import Measured, figures, observations, read_measured

HOW = Resampling(resamples=200)


class Nothing(Settings):
    number: int


def published(root: Path, number: int, measured: Measured) -> str:
    stage = Stage(str(root), "evaluation", Nothing(number=number), {})
    stage.publish(Counts(), {"observations": observations(measured)})
    return stage.uri


def test_observations_of_several_stages_are_put_together(tmp_path: Path) -> None:
    """The judge's figures come from one stage, the win rate from another."""
    judge: Measured = {"parse_rate": {"p1": (3.0, 3.0), "p2": (1.0, 3.0)}, "exact_match": {"p1": (1.0,)}}
    wins: Measured = {"win_rate": {"0": (0.25,)}}
    uris = [published(tmp_path, 1, judge), published(tmp_path, 2, wins)]
    assert read_measured(uris) == {**judge, **wins}
    assert read_measured([]) == {}


def test_records_are_unique_within_their_stage() -> None:
    """One prompt adds to two metrics, two prompts to one."""
    made = observations({"a": {"p": (1.0,), "q": (0.0,)}, "b": {"p": (1.0,)}})
    assert [one.id for one in made] == ["a/p", "a/q", "b/p"]


def test_a_figure_stands_with_its_interval_and_its_items() -> None:
    """3 of 3 and 1 of 3 are 4 of 6; resamples hold the first alone, the second alone or both: 1, 1/3 or 2/3."""
    found = figures({"parse_rate": {"p1": (3.0, 3.0), "p2": (1.0, 3.0)}}, HOW)
    assert found == {
        "parse_rate": pytest.approx(4 / 6),
        "parse_rate_low": pytest.approx(1 / 3),
        "parse_rate_high": 1.0,
        "parse_rate_items": 2.0,
    }


def test_undefined_figures_are_absent() -> None:
    """Nothing but ties: no accuracy, yet two prompts were measured."""
    assert figures({"pairwise_accuracy": {"p1": (0.0, 0.0), "p2": (0.0, 0.0)}}, HOW) == {"pairwise_accuracy_items": 2.0}
