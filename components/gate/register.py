"""What a verdict leads to: the model in the registry, its tags, its aliases, a line in the run's journal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.journal import read_journal, write_journal
from components.core.ledger import spent
from components.core.progress import say, warn
from components.core.stage import read_manifest
from components.core.store import join
from components.gate.gate import GatedModel, labels_of, pass_gate, read_decision
from components.gate.settings import GateSettings
from components.registry.champion import await_sign_off, nominate, promote_against, registered
from components.registry.client import GATE, LONGEST_TAG, REASONS, VERDICT, RegistryError, registry, write
from components.registry.model_run import TrainedModel
from components.registry.registry import find_version, log_figures, register

if TYPE_CHECKING:
    from mlflow import MlflowClient

Note = dict[str, Any]  # an entry of the run's journal, of kind "models"


@spent("registering")
def apply_verdict(root: str, tracking_uri: str, model: TrainedModel, gate: str = "") -> Note:
    """Register the model, follow the verdict of the stage `gate` ("": none), and note both; returns the note.

    An unreachable registry is no reason to stop a run: it warns, and the run's next models and its last step try again.
    Models before it in the run that are not registered yet come first, and the verdict is then made anew: one of them
    may be champion now. Who tries a run again keeps the model's place among the others, of which later ones may have
    been left, too.
    """
    notes = read_journal(root, model.run, "models")
    place = next((note["started"] for note in notes if note["name"] == model.alias), time.time())
    earlier = [note for note in notes if not note["version"] and note["started"] < place]
    if earlier and not _retry_in_order(root, tracking_uri, earlier):
        return _write(root, model, _note(model, gate, place))
    return _apply(root, tracking_uri, model, gate, place, anew=bool(earlier))


def retry_unregistered(root: str, tracking_uri: str, run: str) -> None:
    """Try again for the models of the run that MLflow did not take before; their verdicts are made anew."""
    if not _retry_in_order(root, tracking_uri, _unregistered(root, run)):
        names = ", ".join(note["name"] for note in _unregistered(root, run))
        warn(f"{names} not registered: once MLflow answers, run the recipe again, which reuses all work and registers")


def decide_again(root: str, tracking_uri: str, gate: str) -> str:
    """The gate stage for the same candidate with the registry as it is now; returns its URI.

    Raises RegistryError where that does not say who is champion.
    """
    manifest = read_manifest(gate)
    candidate = GatedModel.from_parents(manifest.parents)
    decided = pass_gate(root, GateSettings(**manifest.settings), candidate, tracking_uri, anew=True)
    return join(root, decided.stage, decided.key)


def decide_with_labels(root: str, tracking_uri: str, run: str, name: str) -> Note | None:
    """The verdict on the run's model `name` with what people have said of it since, followed as any other.

    None where the model has no verdict yet, no rule of its gate asks people, or MLflow does not say who is champion.
    Returns the note.
    """
    notes = [note for note in read_journal(root, run, "models") if note["name"] == name and note["gate"]]
    settings = GateSettings(**read_manifest(notes[0]["gate"]).settings) if notes else None
    if settings is None or not settings.asks_people():
        return None
    note, parents = notes[0], read_manifest(notes[0]["gate"]).parents
    candidate = replace(GatedModel.from_parents(parents), labels=labels_of(root, run, name))
    try:
        decided = pass_gate(root, settings, candidate, tracking_uri, anew=True)
    except RegistryError as error:
        warn(f"no verdict on {name} with what people said: {error.problem}; give the labels again once it answers")
        return None
    model = TrainedModel(note["registered_name"], name, note["uri"], note["measured"], run)
    return _apply(root, tracking_uri, model, join(root, decided.stage, decided.key), note["started"])


def log_labels(root: str, tracking_uri: str, run: str, name: str, figures: Mapping[str, float]) -> None:
    """Add what people said to the metrics of the model's version; warns where the registry does not take it."""
    notes = [note for note in read_journal(root, run, "models") if note["name"] == name and note["version"]]
    if not notes:
        return
    try:
        with registry(tracking_uri) as client:
            log_figures(client, notes[0]["registered_name"], notes[0]["version"], figures)
    except RegistryError as error:
        warn(f"MLflow did not take what people said of {name.upper()}: {error.problem}")


def _unregistered(root: str, run: str) -> list[Note]:
    """Notes of models without a version, in the order of the models."""
    return [note for note in read_journal(root, run, "models") if not note["version"]]


def _retry_in_order(root: str, tracking_uri: str, notes: Sequence[Note]) -> bool:
    """False as soon as one is not taken: a model is compared with the champion that the one before it became."""
    for note in notes:
        model = TrainedModel(note["registered_name"], note["name"], note["uri"], note["measured"], note["run"])
        try:
            if not _apply(root, tracking_uri, model, note["gate"], note["started"], anew=True)["version"]:
                return False
        except UserError as error:  # its files were changed, say: the others are registered all the same
            warn(f"{model.alias} is not registered: {error}")
    return True


def _apply(root: str, tracking_uri: str, model: TrainedModel, gate: str, started: float, anew: bool = False) -> Note:
    """As apply_verdict for this model alone; `anew`: the verdict is made again first. So is one that did not know the
    champion, and one of a try that MLflow did not take: what was champion then may be no more (issue 16)."""
    note = _note(model, gate, started)
    try:
        with registry(tracking_uri) as client:
            if gate and (anew or read_decision(gate).champion is None or not _has_verdict(client, model)):
                gate = decide_again(root, tracking_uri, gate)
                note = _note(model, gate, started)
            note |= _version_and_aliases(client, model, gate)
    except RegistryError as error:
        warn(f"{model.alias} is not registered, the run goes on and tries again later: {error.problem}")
    return _write(root, model, note)


def _version_and_aliases(client: MlflowClient, model: TrainedModel, gate: str) -> Note:
    """The model's version with the verdict as its tags, and its aliases; returns what the note says of both."""
    version = register(client, model)
    number = str(version.version)
    if not gate:
        return {"version": number}
    decision = read_decision(gate)
    tags = {VERDICT: decision.decision, REASONS: "; ".join(decision.reasons)[:LONGEST_TAG], GATE: gate}
    for name, value in tags.items():
        write(client.set_model_version_tag, model.registered_name, number, name, value)
    nominate(client, registered(version))
    if decision.decision != "promote":
        return {"version": number, "promoted": False}
    if read_manifest(gate).settings.get("sign_off") == "required":
        return {"version": number, "promoted": await_sign_off(client, registered(version))}
    return {"version": number, "promoted": promote_against(client, registered(version), decision.champion)}


def _has_verdict(client: MlflowClient, model: TrainedModel) -> bool:
    """Whether a verdict on the model was followed before; the gate is the last of its tags."""
    version = find_version(client, model)
    return version is not None and GATE in version.tags


def _note(model: TrainedModel, gate: str, started: float) -> Note:
    """What is noted of a model that is not registered yet; `started` orders a run's models."""
    decision = read_decision(gate) if gate else None
    return {
        "name": model.alias,
        "run": model.run,
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
        "started": started,
    }


def _write(root: str, model: TrainedModel, note: Note) -> Note:
    if note["verdict"]:
        say(f"{model.alias}: {note['verdict']} ({'; '.join(note['reasons'])})")
    write_journal(root, model.run, "models", model.alias, note)
    return note
