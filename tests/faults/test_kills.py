"""SIGKILL at any moment, then again: what comes of it is what an undisturbed run makes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.loop import Place, kill
from tests.faults.world import begin, leftovers, longest_silence, place, result
from tests.helpers.tiny_model import make_tiny_model

pytestmark = [pytest.mark.faults, pytest.mark.slow]
Note = Callable[..., None]
LONGEST_S = 1.0  # that a run is left alone at first; longer from kill to kill, so that a slow machine ends, too
TRIES = 100  # after which a run that gets nowhere is given up


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path, mlflow_server: str) -> dict[str, Any]:
    with place(tmp_path_factory.mktemp("undisturbed"), model, mlflow_server) as where:
        ended(begin(where), where)
        return result(where)


def ended(process: Any, where: Place) -> None:
    process.join()
    assert process.exitcode == 0, (Path(where.environment["SRLM_HOME"]).parent / "log.txt").read_text()[-3000:]


def killed_until_done(where: Place, draws: random.Random) -> int:
    """How often the run was killed before it came to its end."""
    for kills in range(TRIES):
        process = begin(where)
        process.join(draws.uniform(0.05, LONGEST_S + kills / 16))
        if not kill(process):
            ended(process, where)
            return kills
    raise AssertionError(f"killed {TRIES} times, it did not come to its end")


@pytest.mark.parametrize("seed", range(10))
def test_a_run_that_is_killed_again_and_again(
    seed: int, tmp_path: Path, model: Path, undisturbed: dict[str, Any], mlflow_server: str, note: Note
) -> None:
    """Same stages, same models, same registry; nothing is left in the making."""
    with place(tmp_path, model, mlflow_server) as where:
        kills = killed_until_done(where, random.Random(seed))
        lost = result(where) != undisturbed or bool(leftovers(where))
        note(
            "SIGKILL of the step at a random moment of a run, again and again until it ended",
            survived=kills * (not lost),
            lost=kills * lost,
            silence=longest_silence(where),
        )
        assert result(where) == undisturbed
        assert leftovers(where) == []
