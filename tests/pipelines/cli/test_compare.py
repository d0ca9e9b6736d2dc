"""srlm compare: tables for a person, JSON for a script, a page for both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from tests.helpers.finished_run import RUN, make_finished_run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One with two runs: the second lies where a copy of its folder has been put beside the first."""
    make_finished_run(tmp_path / "store")
    make_finished_run(tmp_path / "two", gain=0)
    shutil.copytree(tmp_path / "two/runs" / RUN, tmp_path / "store/runs/other")
    return tmp_path / "store"


def test_two_runs_side_by_side(store: Path, tmp_path: Path) -> None:
    """M2 wins 30 of 40 in the first and 20 in the second, which is a quarter less."""
    page, asked = tmp_path / "page.html", ["compare", RUN, "other", "--store", str(store)]
    shown = CliRunner().invoke(app, [*asked, "-o", str(page)])
    assert shown.exit_code == 0, shown.output
    assert "no setting differs" in shown.output and "25.0" in shown.output and "25.0" in page.read_text()
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    (changed,) = [one for one in told["figures"] if (one["metric"], one["model"]) == ("win_rate", "M2")]
    assert (changed["changes"][0]["value"], changed["changes"][0]["how"]) == (-0.25, "paired")
    assert CliRunner().invoke(app, ["compare", RUN, RUN, "--store", str(store)]).exception is not None
