"""What a verdict leads to: the model in the registry, its tags, its aliases, a line in the run's journal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from components.gate.gate import Candidate, pass_gate, read_decision
from components.gate.settings import GateSettings
from components.progress import say, warn
from components.records import Decision
from components.registry.champion import CANDIDATE, promote_against, registered
from components.registry.client import GATE, LONGEST_TAG, REASONS, VERDICT, first_line, open_registry
from components.registry.registry import TrainedModel, register
from components.step import read_journal, write_journal
from components.store import join


def settle(root: str, tracking_uri: str, model: TrainedModel, gate: str = "") -> dict[str, Any]:
    """Register the model, follow the verdict of the stage `gate` ("": none), and note both; returns the note.

    An unreachable registry is no reason to stop a run: it warns, and the run's last step tries again.
    """
    from mlflow.exceptions import MlflowException

    decision = read_decision(gate) if gate else None
    note = _note(model, decision, gate)
    try:
        note |= _register(tracking_uri, model, decision, gate)
    except MlflowException as error:
        warn(f"{model.alias} is not registered: {tracking_uri} does not answer as MLflow ({first_line(error)})")
    if decision:
        say(f"{model.alias}: {decision.decision} ({'; '.join(decision.reasons)})")
    write_journal(root, model.run, "models", model.alias, note)
    return note


def settle_what_is_left(root: str, tracking_uri: str, run: str) -> None:
    """Try again for the models of the run that MLflow did not take before; their verdicts are made anew."""
    for note in read_journal(root, run, "models"):
        if note["version"]:
            continue
        model = TrainedModel(note["registered_name"], note["name"], note["uri"], note["measured"], run)
        gate = note["gate"]
        if gate:
            gate = decide_again(root, tracking_uri, gate)
        settle(root, tracking_uri, model, gate)


def decide_again(root: str, tracking_uri: str, gate: str) -> str:
    """The gate stage for the same candidate with the registry as it is now; returns its URI."""
    from components.stage import read_manifest

    manifest = read_manifest(gate)
    roles = manifest.parents
    candidate = Candidate(roles["model"].uri, _uris(roles, "measured_"), _uris(roles, "previous_"))
    made = pass_gate(root, GateSettings(**manifest.settings), candidate, tracking_uri)
    return join(root, made.stage, made.key)


def _uris(roles: dict[str, Any], prefix: str) -> Sequence[str]:
    return [roles[role].uri for role in sorted(roles) if role.startswith(prefix)]


def _note(model: TrainedModel, decision: Decision | None, gate: str) -> dict[str, Any]:
    return {
        "name": model.alias,
        "uri": model.uri,
        "digest": model.digest(),
        "measured": list(model.measured),
        "registered_name": model.registered_name,
        "version": None,
        "promoted": False,
        "gate": gate,
        "verdict": decision.decision if decision else None,
        "reasons": decision.reasons if decision else [],
        "metrics": model.metrics(),
        "started": time.time(),
    }


def _register(tracking_uri: str, model: TrainedModel, decision: Decision | None, gate: str) -> dict[str, Any]:
    client = open_registry(tracking_uri)
    version = register(client, model)
    if decision is None:
        return {"version": str(version.version)}
    tags = {VERDICT: decision.decision, REASONS: "; ".join(decision.reasons)[:LONGEST_TAG], GATE: gate}
    for name, value in tags.items():
        client.set_model_version_tag(model.registered_name, version.version, name, value)
    client.set_registered_model_alias(model.registered_name, CANDIDATE, version.version)
    promoted = decision.decision == "promote" and promote_against(client, registered(version), decision.champion)
    return {"version": str(version.version), "promoted": promoted}
