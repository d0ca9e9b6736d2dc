"""The gate as a stage: one verdict on a model, found again by whoever asks again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from components.core.errors import UserError
from components.core.journal import read_journal
from components.core.progress import warn
from components.core.records import Counts, Decision, Manifest, Parent
from components.core.stage import Stage, parent, read_manifest, read_records
from components.gate.decide import Verdict, decide
from components.gate.settings import GatePolicy, GateSettings
from components.metrics.observations import Measured, read_measured
from components.registry.champion import RegisteredModel, find_champion
from components.registry.client import RegistryError, registry

WAITS = "waits for sign-off: srlm promote makes it champion"
OUTCOMES = {"pass": "passed", "fail": "failed", "unknown": "undecided: too little measured"}


@dataclass(frozen=True)
class GatedModel:
    """A model to decide about: its stage, the stages that measured it, and those that measured the model before it.

    `baselines` are the stages that measured what its run started from, by the model's name (m0, sft), `labels` those
    of what people said of it (srlm review).
    """

    model: str
    measured: Sequence[str]
    previous: Sequence[str] = ()
    baselines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Sequence[str] = field(default_factory=list)

    def observed(self) -> Measured:
        """All that was measured of it, by servers and by people."""
        return read_measured([*self.measured, *self.labels])

    def parents(self) -> dict[str, Parent]:
        measured = {f"measured_{n}": parent(uri) for n, uri in enumerate(self.measured, 1)}
        previous = {f"previous_{n}": parent(uri) for n, uri in enumerate(self.previous, 1)}
        baselines = {
            f"baseline_{name}_{n}": parent(uri)
            for name, stages in self.baselines.items()
            for n, uri in enumerate(stages, 1)
        }
        labels = {f"labels_{n}": parent(uri) for n, uri in enumerate(self.labels, 1)}
        return {"model": parent(self.model), **measured, **previous, **baselines, **labels}

    @classmethod
    def from_parents(cls, parents: Mapping[str, Parent]) -> GatedModel:
        """The candidate of a gate stage."""
        measured, previous, labels = (_numbered(parents, prefix) for prefix in ("measured_", "previous_", "labels_"))
        names = dict.fromkeys(role.split("_")[1] for role in parents if role.startswith("baseline_"))
        baselines = {name: _numbered(parents, f"baseline_{name}_") for name in names}
        return cls(parents["model"].uri, measured, previous, baselines, labels)


def labels_of(root: str, run: str, name: str) -> list[str]:
    """Stages of what people said of the run's model `name` so far: one, or none."""
    return [stage["uri"] for stage in read_journal(root, run, "stages") if stage["name"] == f"{name}/review"]


def _numbered(parents: Mapping[str, Parent], prefix: str) -> list[str]:
    """URIs of the roles `<prefix>1`, `<prefix>2`, ... in that order."""
    roles = sorted((int(role.removeprefix(prefix)), role) for role in parents if role.startswith(prefix))
    return [parents[role].uri for _, role in roles]


def pass_gate(
    root: str, settings: GateSettings, candidate: GatedModel, tracking_uri: str, anew: bool = False
) -> Manifest:
    """The gate stage: records "decision" (one Decision) and "checks".

    The champion is the registry's at the time of the verdict, noted in it and no part of the key: the same measurements
    are decided about once, or `anew` where another model has become champion since. Such a verdict has a key of its
    own; so has one without an answer of the registry, so that it is made again. Raises RegistryError where one is to be
    made `anew` and the registry does not answer.
    """
    inputs = candidate.parents()
    stage = Stage(root, "gate", settings, inputs)
    if stage.manifest and not anew:
        return stage.manifest
    try:
        with registry(tracking_uri) as client:
            champion = find_champion(client, settings.registered_name)
    except RegistryError as error:
        if anew:  # who asks again has no use for the verdict of before
            raise
        stage = Stage(
            root, "gate", settings, inputs | {"champion": Parent(uri="the registry's", digest="did not answer")}
        )
        if stage.manifest:
            return stage.manifest
        warn(f"the gate does not know the champion: {error.problem}")
        verdict = decide(candidate.observed(), None, settings, _read_previous(candidate))
        reason = "the champion is unknown, as the registry did not answer"
        return _publish(stage, candidate, _unless_stopped(verdict, "hold", reason), None)
    digest = champion.digest if champion else ""
    if stage.manifest and digest not in (read_decision(stage.uri).champion, read_manifest(candidate.model).digest):
        uri = champion.stage if champion else "no champion"
        stage = Stage(root, "gate", settings, inputs | {"champion": Parent(uri=uri, digest=digest)})
    if stage.manifest:
        return stage.manifest
    verdict = _decide_against(champion, candidate, settings)
    passes = verdict.decision == "promote" and digest != read_manifest(candidate.model).digest
    if passes and settings.sign_off == "required":
        verdict = replace(verdict, reasons=[*verdict.reasons, WAITS])
    return _publish(stage, candidate, verdict, digest)


def compare_models(root: str, policy: GatePolicy, candidate: GatedModel, against: GatedModel) -> Manifest:
    """The comparison stage: what the gate says of `candidate` if `against` were the champion; nothing is promoted.

    Raises UserError when the two were measured with other settings or data.
    """
    inputs = {f"candidate_{role}": stage for role, stage in candidate.parents().items()}
    inputs |= {f"against_{role}": stage for role, stage in against.parents().items()}
    stage = Stage(root, "comparison", policy, inputs)
    if stage.manifest:
        return stage.manifest
    if difference := measured_differently(candidate.measured, against.measured):
        raise UserError(f"the two models cannot be compared: {difference}", "Evaluate both with one recipe.")
    verdict = decide(read_measured(candidate.measured), read_measured(against.measured), policy)
    return _publish(stage, candidate, verdict, read_manifest(against.model).digest)


def read_decision(gate: str) -> Decision:
    """The decision of a gate stage."""
    return read_records(gate, "decision", Decision)[0]


def _decide_against(champion: RegisteredModel | None, candidate: GatedModel, settings: GateSettings) -> Verdict:
    measured, previous = candidate.observed(), _read_previous(candidate)
    if champion is None:
        baselines = {
            name: read_measured(stages)
            for name, stages in candidate.baselines.items()
            if not measured_differently(candidate.measured, stages)
        }
        return decide(measured, None, settings, previous, baselines)
    if champion.digest == read_manifest(candidate.model).digest:
        return _unless_stopped(decide(measured, None, settings, previous), "promote", "it is the champion already")
    try:
        difference = measured_differently(candidate.measured, champion.measured)
        theirs = {} if difference else read_measured(champion.measured)
    except UserError as error:  # its store is gone, or was another one
        difference = error.problem
    if difference:
        reason = f"the champion (version {champion.version}) cannot be compared with: {difference}"
        return _unless_stopped(decide(measured, None, settings, previous), "hold", reason)
    return decide(measured, theirs, settings, previous)


def _unless_stopped(verdict: Verdict, decision: Literal["promote", "hold"], reason: str) -> Verdict:
    """A stop stays a stop, whoever the champion is; anything else becomes `decision`."""
    return verdict if verdict.decision == "stop" else Verdict(decision, [reason], verdict.checks)


def _read_previous(candidate: GatedModel) -> Measured:
    """What was observed of the model before; empty for the first one of a run, which no regression is held against."""
    if not candidate.previous or measured_differently(candidate.measured, candidate.previous):
        return {}
    return read_measured(candidate.previous)


def measured_differently(candidate: Sequence[str], champion: Sequence[str]) -> str:
    """Why two models' measurements cannot be compared; "" where settings, prompts and annotator are the same."""
    ours, theirs = _comparable(candidate), _comparable(champion)
    for stage in ("evaluation", "annotation"):
        if stage not in ours and stage not in theirs:
            continue
        if stage not in ours or stage not in theirs:
            return f"one of them has no {stage}"
        if ours[stage].settings != theirs[stage].settings:
            return f"the settings of {stage} differ"
        digests, others = ({k: v.digest for k, v in side[stage].parents.items()} for side in (ours, theirs))
        for role in ("seed_data", "instructions", "annotator", "template"):
            if digests.get(role) != others.get(role):
                return f"{stage} used another {role.replace('_', ' ')}"
    return ""


def _comparable(measured: Sequence[str]) -> dict[str, Manifest]:
    """Manifests by stage. An annotation without instructions compares with the model before alone, each another."""
    manifests = {manifest.stage: manifest for manifest in map(read_manifest, measured)}
    if "annotation" in manifests and "instructions" not in manifests["annotation"].parents:
        del manifests["annotation"]
    return manifests


def _publish(stage: Stage, candidate: GatedModel, verdict: Verdict, champion: str | None) -> Manifest:
    decision = Decision(
        id=read_manifest(candidate.model).digest,
        decision=verdict.decision,
        reasons=verdict.reasons,
        champion=champion,
    )
    outcomes = Counter(OUTCOMES[check.outcome] for check in verdict.checks)
    counts = Counts(kept={f"checks {outcome}": number for outcome, number in sorted(outcomes.items())})
    return stage.publish(counts, {"decision": [decision], "checks": verdict.checks})
