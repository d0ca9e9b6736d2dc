"""Whoever meets another comes to the same: runs of one name on two machines, promotions, rollbacks."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.errors import UserError
from components.registry.champion import find_champion, promote, registered, roll_back
from components.registry.registry import register
from tests.faults.loop import kill
from tests.faults.world import begin, elsewhere, leftovers, longest_silence, place, registry, result
from tests.helpers.registered_models import trained
from tests.helpers.tiny_model import make_tiny_model

pytestmark = [pytest.mark.faults, pytest.mark.slow]
Note = Callable[..., None]


def test_the_same_run_started_twice(tmp_path: Path, mlflow_server: str, note: Note) -> None:
    """Two machines, one store; one is begun a little later, one is killed on the way in a second pair. Both end well,
    with one result, and each model is registered once."""
    model = make_tiny_model(tmp_path / "model")
    survived, silence, results = 0, 0.0, []
    for number, dies in enumerate((False, True)):
        with place(tmp_path / f"{number}", model, mlflow_server) as where:
            other = elsewhere(where, tmp_path / f"{number}" / "other" / "home")
            first, second = begin(where), begin(other)
            if dies:
                second.join(6.0)
                kill(second)
                second = begin(other)
            for process in (first, second):
                process.join()
                log = (tmp_path / f"{number}" / "log.txt").read_text()[-3000:]
                assert process.exitcode == 0, log
            survived += 1
            silence = max(silence, longest_silence(where), longest_silence(other))
            results.append(result(where))
            assert registry(where)["versions"] == 4
            assert leftovers(where) == leftovers(other) == []
    note("the same run on two machines at once", survived=survived, lost=results[0] != results[1], silence=silence)
    assert results[0]["stages"] == results[1]["stages"] and results[0]["registry"] == results[1]["registry"]


def test_promotions_and_rollbacks_at_once(tmp_path: Path, mlflow_server: str, note: Note) -> None:
    """Whoever comes last counts; there is one champion, whose files are whole, and the one before it is known."""
    client, lost = MlflowClient(mlflow_server), 0
    for _ in range(5):
        name = f"model-{secrets.token_hex(4)}"
        models = [registered(register(client, trained(tmp_path, name, alias))) for alias in ("a", "b", "c", "d")]
        for model in models[:2]:
            promote(client, model)
        with ThreadPoolExecutor(4) as pool:
            ended = [pool.submit(promote, client, model) for model in models[2:]]
            ended += [pool.submit(roll_back, client, name) for _ in range(2)]
            for one in ended:
                problem = one.exception()
                assert problem is None or isinstance(problem, UserError), problem
        champion = find_champion(client, name)
        aliases = client.get_registered_model(name).aliases
        whole = champion is not None and {"champion", "previous"} <= aliases.keys()
        lost += not whole or len(client.search_model_versions(f"name = '{name}'")) != len(models)
    note("two promotions and two rollbacks at once", survived=20 - 4 * lost, lost=lost)
    assert not lost
