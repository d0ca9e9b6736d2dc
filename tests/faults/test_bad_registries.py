"""An MLflow server that is away or bad: a run goes on, says so, and a later try makes up for it, each model once."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.core.journal import read_journal
from components.gate.register import apply_verdict, retry_unregistered
from components.registry.champion import CANDIDATE
from components.registry.client import GATE, MEASURED, MLFLOW_RUN, REASONS, VERDICT
from components.registry.tracking import begin_run, end_run
from tests.faults.bad_mlflow import KINDS, BadMlflow, bad_mlflow
from tests.helpers.registered_models import gated, trained

pytestmark = [pytest.mark.faults, pytest.mark.slow]
Note = Callable[..., None]
SHARE = 0.2  # of the requests
LIES = ("nothing", "an empty object", "objects without fields")  # it says that it has done what it has not
ALIASES = ("candidate", "champion", "previous")


@pytest.fixture
def bad(tracking_uri: str) -> Iterator[BadMlflow]:
    with bad_mlflow(tracking_uri) as server:
        yield server


def settle(root: Path, uri: str, name: str) -> None:
    """What the steps of a run do: sft, M1 that is promoted, M2 that is better; then the run's last step."""
    begin_run(uri, name, "run-1", {"name": name}, str(root))
    apply_verdict(str(root), uri, trained(root, name, "sft"))
    for alias, right in (("m1", 20), ("m2", 40)):
        model = trained(root, name, alias, right)
        apply_verdict(str(root), uri, model, gated(root, uri, model))
    retry_unregistered(str(root), uri, "run-1")
    end_run(uri, name, "run-1", {"name": name}, str(root), {})


def state(client: MlflowClient, name: str) -> dict[str, Any]:
    """Aliases and verdicts by the models' own aliases, and MLflow's runs by name with how they ended."""
    aliases = {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()}
    names = {number: alias for alias, number in aliases.items() if alias not in ALIASES}
    verdicts = [
        (names.get(str(one.version)), one.tags.get(VERDICT)) for one in client.search_model_versions(f"name = '{name}'")
    ]
    places = {alias: names[aliases[alias]] for alias in ALIASES if alias in aliases}
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return {"verdicts": sorted(verdicts, key=str), **places, "runs": sorted(run.info.run_name for run in runs)}


SETTLED = {
    "verdicts": [("m1", "promote"), ("m2", "promote"), ("sft", None)],
    **{"candidate": "m2", "champion": "m2", "previous": "m1"},
    "runs": ["m1 (run-1)", "m2 (run-1)", "run-1", "sft (run-1)"],
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LIES])
def test_a_registry_that_is_bad_now_and_then_ends_as_a_good_one(
    kind: str, bad: BadMlflow, tmp_path: Path, client: MlflowClient, registered_name: str,
    note: Note, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One of five requests is answered badly: nothing is raised, and once it is well again all is there, once."""
    draws, start = random.Random(KINDS.index(kind)), time.monotonic()
    bad.kind, bad.chosen = kind, lambda number, path, body: draws.random() < SHARE
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
        settle(tmp_path, bad.uri, registered_name)
    longest = time.monotonic() - start
    bad.chosen = lambda number, path, body: False
    settle(tmp_path, bad.uri, registered_name)
    lost = int(state(client, registered_name) != SETTLED)
    note(f"MLflow: {kind}", survived=bad.failed - lost, lost=lost, silence=longest)
    assert bad.failed and state(client, registered_name) == SETTLED


@pytest.mark.parametrize("kind", LIES)
def test_a_server_that_says_it_has_done_what_it_has_not_ends_no_run(
    kind: str, bad: BadMlflow, tmp_path: Path, client: MlflowClient, registered_name: str, note: Note
) -> None:
    """It is believed, as nothing is read back; but no run ends by it, and no model is missing afterwards."""
    draws = random.Random(0)
    bad.kind, bad.chosen = kind, lambda number, path, body: draws.random() < SHARE
    settle(tmp_path, bad.uri, registered_name)
    bad.chosen = lambda number, path, body: False
    settle(tmp_path, bad.uri, registered_name)
    aliases = client.get_registered_model(registered_name).aliases
    assert {"sft", "m1", "m2", "candidate", "champion"} <= aliases.keys()
    note(f"MLflow: {kind}", survived=bad.failed)


def _written(path: str, body: bytes) -> list[str]:
    """The tag or alias that a request to the registry sets; none of any other request."""
    given = json.loads(body) if body and path.endswith(("model-versions/set-tag", "registered-models/alias")) else {}
    return [given[name] for name in ("key", "alias") if name in given]


@pytest.mark.parametrize("refused", [VERDICT, REASONS, GATE, MEASURED, MLFLOW_RUN, CANDIDATE])
def test_a_registry_that_refuses_one_tag_or_alias_is_told_and_made_up_for(
    refused: str, bad: BadMlflow, tmp_path: Path, client: MlflowClient, registered_name: str,
    note: Note, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bad.kind = "a refusal"
    bad.chosen = lambda number, path, body: refused in _written(path, body)
    settle(tmp_path, bad.uri, registered_name)
    told = capsys.readouterr().err
    assert "the tag is not allowed here" in told and "not registered: once MLflow answers, run the recipe" in told
    assert client.get_registered_model(registered_name).aliases.get(CANDIDATE) is None
    bad.chosen = lambda number, path, body: False
    settle(tmp_path, bad.uri, registered_name)
    assert state(client, registered_name) == SETTLED
    note(f"MLflow refuses {refused}", survived=1)


def test_a_registry_away_from_the_first_step_to_the_last(
    bad: BadMlflow, tmp_path: Path, client: MlflowClient, registered_name: str,
    note: Note, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Told with what to do; the same run again registers all, in the models' order."""
    bad.chosen = lambda number, path, body: True
    settle(tmp_path, bad.uri, registered_name)
    assert "sft, m1, m2 not registered: once MLflow answers, run the recipe again" in capsys.readouterr().err
    bad.chosen = lambda number, path, body: False
    settle(tmp_path, bad.uri, registered_name)
    notes = read_journal(str(tmp_path), "run-1", "models")
    assert [(one["name"], one["version"]) for one in notes] == [("sft", "1"), ("m1", "2"), ("m2", "3")]
    assert state(client, registered_name) == SETTLED
    note("MLflow away for a whole run", survived=1)
