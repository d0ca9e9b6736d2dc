"""Runs of every kind, asked for at once; their age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from components.core.errors import UserError
from pipelines.cli.runs import commands
from pipelines.runs import Answers, Run, age, recent


def test_the_age_is_in_the_largest_unit_that_counts_at_least_two() -> None:
    """119 s are less than two minutes; 120 s are two; 47 h are less than two days."""
    now = datetime.now(UTC)
    ages = [age(now - timedelta(seconds=seconds)) for seconds in (119, 121, 47 * 3600 + 1, 48 * 3600 + 1)]
    assert ages == ["119 s", "2 min", "47 h", "2 d"]
    assert age(None) == "?", "not known is not now"


class Known:
    """A kind of runs that knows one, whose log is one line."""

    def __init__(self, kind: str) -> None:
        self.name = kind

    def recent(self) -> list[Run]:
        return self.find("toy")

    def find(self, run: str) -> list[Run]:
        return [Run(self.name, run, "running")]

    def log(self, run: Run, follow: bool) -> list[str]:
        return [f"told by {run.kind}"]


@pytest.mark.parametrize("beside", ["submission", "orphaned"])
def test_the_log_is_the_run_s_not_that_of_its_submission_or_its_servers(
    beside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Kubeflow serves a model, the server goes by the run's name as well."""
    monkeypatch.setattr("pipelines.cli.runs.every_kind", lambda *_: [Known(beside), Known("kubeflow")])
    assert CliRunner().invoke(commands, ["logs", "toy"]).stdout == "told by kubeflow\n"


class Unreachable:
    name = "kubeflow"

    def recent(self) -> list[Any]:
        raise UserError("nobody there", "Start it.")


def test_a_kind_that_cannot_be_queried_is_named_and_does_not_hide_the_others() -> None:
    answers = recent([Known("local"), Unreachable()])  # type: ignore[list-item]
    assert [run.name for _, run in answers.runs] == ["toy"]
    assert answers.errors == ["kubeflow: nobody there"]
    with pytest.raises(UserError, match="kubeflow: nobody there"):
        Answers(errors=answers.errors).require("nosuch")
