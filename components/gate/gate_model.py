"""The step that ends a model's phase: a verdict, the registry, and what the next phase needs of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from components.core.context import RunContext, RunData, RunState, open_step
from components.core.journal import write_journal
from components.core.page import Table, write_page
from components.core.records import Check, Manifest
from components.core.stage import read_manifest, read_records
from components.gate.gate import GatedModel, compare_models, labels_of, pass_gate, read_decision
from components.gate.register import apply_verdict
from components.gate.settings import GatePolicy, GateSettings
from components.gate.verdict import verdict_lines, verdict_table
from components.metrics.labels import COMPARABLE, alpaca_eval_label
from components.metrics.statistics import headline
from components.registry.model_run import TrainedModel


class Metrics(Protocol):
    """The part of kfp's dsl.Metrics that is used."""

    def log_metric(self, metric: str, value: float) -> None: ...


def gate_model(
    before: dict[str, Any], made: dict[str, Any], measured_by: dict[str, Any], page: str, metrics: Metrics
) -> tuple[str, dict[str, Any]]:
    """Returns the decision, and the run's state after the model's phase as a KFP parameter.

    `made` are the fields of the state that the phase made, `measured_by` is what `measure` returned.
    """
    state = state_after(before, made, measured_by)
    with open_step(state.run, f"gate and register {state.name.upper()}") as context:
        candidate = gated(before, state, measured_by)
        gate = make_gate(context, state.name, candidate)
        _show_and_apply(context, state, candidate.measured, gate, page, metrics)
        write_journal(context.store, context.run, "states", state.name, state.to_dict())  # for `resume`
        return read_decision(gate).decision, state.to_dict()


def register_model(
    before: dict[str, Any], made: dict[str, Any], measured_by: dict[str, Any], page: str, metrics: Metrics
) -> dict[str, Any]:
    """A model that the run starts from, registered under its name as alias; returns the run's state after its phase.

    Without a model in `made` it is M0.
    """
    state = baseline_after(before, made, measured_by)
    with open_step(state.run, f"register {state.name.upper()}") as context:
        _show_and_apply(context, state, measured_by["stages"], "", page, metrics)
        return state.to_dict()


def compare(
    run: str, candidate: GatedModel, against: GatedModel, fail_on_regression: bool, page: str, metrics: Metrics
) -> str:
    """Returns the gate's decision about the candidate as if `against` were the champion; nothing is promoted.

    Ends the process with the reasons where the gate would stop and `fail_on_regression` is set.
    """
    with open_step(run, "compare the models") as context:
        policy = context.section("gate", GatePolicy)
        uri = context.make("comparison", lambda: compare_models(context.store, policy, candidate, against))
        decision = read_decision(uri)
        model = TrainedModel(context.recipe["name"], "model", candidate.model, candidate.measured, context.run)
        _show("comparison", uri, model.metrics(), page, metrics)
    if fail_on_regression and decision.decision == "stop":
        raise SystemExit(f"regression: {'; '.join(decision.reasons)}")
    return decision.decision


def state_after(before: dict[str, Any], made: dict[str, Any], measured_by: dict[str, Any]) -> RunState:
    """The run's state after a model's phase; `made` and `measured_by` are as for gate_model."""
    kept = {"run": before["run"], "data": RunData(**before["data"]), "baselines": dict(before["baselines"])}
    measured = {name: measured_by[name] for name in ("evaluation", "annotation")}
    return RunState(**kept, **measured, **made | {"prompts": tuple(made.get("prompts", ()))})


def baseline_after(before: dict[str, Any], made: dict[str, Any], measured_by: dict[str, Any]) -> RunState:
    """The same of a model that the run starts from, M0 where `made` has none: the others are held against it, too."""
    state = state_after(before, {**made, "model": made["model"] or before["data"]["base"]}, measured_by)
    state.baselines[state.name] = measured_by["stages"]
    return state


def gated(before: dict[str, Any], state: RunState, measured_by: dict[str, Any]) -> GatedModel:
    """The model of the state with all that measured it: its training observed something, too (DPO held-out pairs)."""
    measured = [*measured_by["stages"], *filter(None, [state.judgements]), state.model]
    return GatedModel(state.model, measured, RunState.from_dict(before).measurements(), state.baselines)


def make_gate(context: RunContext, name: str, candidate: GatedModel) -> str:
    """Returns the URI of the gate's stage."""

    def make() -> Manifest:
        settings = GateSettings(**context.recipe["gate"], registered_name=context.recipe["name"])
        if read_manifest(candidate.model).stage != "dpo":
            settings = settings.of_first_model()
        labels = labels_of(context.store, context.run, name) if settings.asks_people() else []
        return pass_gate(context.store, settings, replace(candidate, labels=labels), context.tracking_uri)

    return context.make(f"{name}/gate", make)


def _show_and_apply(
    context: RunContext, state: RunState, measured: Sequence[str], gate: str, page: str, metrics: Metrics
) -> None:
    model = TrainedModel(context.recipe["name"], state.name, state.model, measured, context.run)
    _show(state.name.upper(), gate, model.metrics(), page, metrics)
    apply_verdict(context.store, context.tracking_uri, model, gate)


def _show(name: str, gate: str, figures: Mapping[str, float], page: str, metrics: Metrics) -> None:
    """The verdict of the stage `gate` ("": none) and the model's figures, for the KFP UI."""
    verdict: list[Table | list[str]] = []
    title = name
    if gate:
        decision, checks = read_decision(gate), read_records(gate, "checks", Check)
        title = f"{name}: {decision.decision}"
        verdict = [verdict_lines(decision), verdict_table(checks)]
    known = headline(figures)
    for metric, value in known.items():
        metrics.log_metric(metric, value)
    rows = [(metric, f"{value:.3f}", _interval(figures, metric)) for metric, value in known.items()]
    label = alpaca_eval_label(figures)
    note = f"win_rate, lc_win_rate: {label}. {COMPARABLE}" if label else ""
    write_page(page, title, *verdict, Table("figures", ("metric", "value", "95 % interval"), rows, note))


def _interval(figures: Mapping[str, float], metric: str) -> str:
    low, high = figures.get(f"{metric}_low"), figures.get(f"{metric}_high")
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
