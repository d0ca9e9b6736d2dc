"""The report's sections, as data: what the summary says, and what its stages hold besides (curves, answers, rules)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from components.core.context import RunContext
from components.core.errors import UserError
from components.core.page import Table
from components.core.records import Check, CurvePoint, Manifest
from components.core.stage import find_manifest, read_records
from components.gate.gate import read_decision
from components.gate.settings import GatePolicy
from components.gate.verdict import verdict_lines, verdict_table
from components.run.charts import Chart, Point, Stack
from components.run.examples import Example, examples
from components.run.figures import (
    PAPER,
    count_table,
    figure_table,
    funnel_tables,
    length_chart,
    model_charts,
    people_table,
    score_chart,
)
from components.run.ledger_tables import ledger_notes, ledger_tables
from components.run.outcome import Outcome, outcome
from components.run.tables import contamination_table, drift_table, model_table

CURVES = {  # what is shown of what the trainer logged, by the name it has there
    "loss": "loss in training",
    "rewards/margins": "margin in training",
    "held_out/loss": "loss, held-out pairs",
    "held_out/margin": "margin, held-out pairs",
}
NOBODY = "Nobody has labelled any of it: whether people would judge as the models did is not known. See srlm review"
Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """One part of the page. `notes` stand above the rest; what is empty is not shown."""

    title: str
    notes: Sequence[str] = ()
    charts: Sequence[Chart | Stack] = ()
    tables: Sequence[Table] = ()
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    text: str = ""

    @property
    def id(self) -> str:
        return self.title.lower().replace(" ", "-").replace(",", "")


def sections(context: RunContext, summary: Summary) -> tuple[Outcome, list[Section]]:
    """The verdict, then everything that it rests on. What a stage no longer has is said, and nothing stands for it."""
    policy = context.section("gate", GatePolicy)
    models, rounds, stages = summary["models"], summary["rounds"], summary["stages"]
    manifests = {stage["name"]: _manifest(stage["uri"]) for stage in stages}
    funnel, spent = funnel_tables(stages), summary.get("ledger") or {}
    measured = [model_table(summary), figure_table(models, policy.confidence), PAPER] if models else []
    drifted = [table for table in (drift_table(summary), contamination_table(summary)) if table]
    people = [table for table in (people_table(stages),) if table]
    histogram, lengths = score_chart(rounds), length_chart(rounds)
    return outcome(models, policy), [
        Section("Models side by side", charts=model_charts(models), tables=measured),
        Section("Scores and lengths", charts=[chart for chart in (histogram, lengths) if chart]),
        _if_there("Training", lambda title: Section(title, charts=training_charts(stages))),
        Section("From prompts to pairs", tables=[*funnel, count_table(stages, funnel)]),
        Section("Judge health, drift, contamination", tables=drifted),
        Section("People and the judge", notes=[] if people else [f"{NOBODY} {context.run}."], tables=people),
        _if_there("Examples", lambda title: _examples(title, stages)),
        _if_there("Rules of the gate", lambda title: _rules(title, models)),
        Section("Time and cost", ledger_notes(spent), tables=ledger_tables(spent)),
        Section("Lineage", tables=[_lineage(stages, manifests)]),
        _settings(context),
        Section("Versions", tables=[_versions(context, manifests)]),
    ]


def _manifest(uri: str) -> Manifest | None:
    """None where there is none any more, or none that can be read: a report is no reason for a run to fail."""
    try:
        return find_manifest(uri)
    except UserError:
        return None


def _if_there(title: str, make: Callable[[str], Section]) -> Section:
    """The section, or why its stages can no longer be read: `srlm gc` may have taken them."""
    try:
        return make(title)
    except UserError as error:
        return Section(title, notes=[f"{error.problem}."])


def training_charts(stages: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """For each DPO training its loss and its margin, in training and on the held-out pairs, by step."""
    charts = []
    for stage in stages:
        name, _, kind = stage["name"].partition("/")
        if kind == "dpo":
            points = read_records(stage["uri"], "curve", CurvePoint)
            for what in ("loss", "margin"):
                series: dict[str, Sequence[Point]] = {}
                for logged, label in CURVES.items():
                    known = [Point(one.step, one.values[logged]) for one in points if logged in one.values]
                    if what in label and known:
                        series[label] = known
                if series:
                    charts.append(Chart(f"DPO of {name.upper()}: {what}", "curves", series, "step"))
    return charts


def _examples(title: str, stages: Sequence[Mapping[str, Any]]) -> Section:
    uris = {stage["name"]: stage["uri"] for stage in stages}
    judged = [name.partition("/")[0] for name in uris if name.endswith("/judging")]
    shown = {f"M{name[1:]}'s answers": examples(uris[f"{name}/sampling"], uris[f"{name}/judging"]) for name in judged}
    note = "By mean score: the best, the worst, and some at random. What models wrote is shown as they wrote it."
    return Section(title, notes=[note] if shown else ["No answers were judged."], examples=shown)


def _rules(title: str, models: Sequence[Mapping[str, Any]]) -> Section:
    notes, tables = [], []
    for model in models:
        if model["gate"]:
            name = model["name"].upper()
            notes.append(f"{name}: {model['verdict']}. {' '.join(verdict_lines(read_decision(model['gate'])))}")
            table = verdict_table(read_records(model["gate"], "checks", Check))
            tables.append(Table(f"rules for {name}", table.columns, table.rows))
    return Section(title, notes=notes, tables=tables)


def _lineage(stages: Sequence[Mapping[str, Any]], manifests: Mapping[str, Manifest | None]) -> Table:
    """What each stage was made from, and what it took to make it, by whichever run made it."""
    names = {stage["uri"]: stage["name"] for stage in stages}
    rows = []
    for stage in stages:
        manifest = manifests[stage["name"]]
        parents = manifest.parents.values() if manifest else ()
        made_from = ", ".join(dict.fromkeys(names.get(parent.uri, parent.uri) for parent in parents))
        seconds = "gone" if manifest is None else f"{manifest.seconds:,.1f}"
        tokens = f"{manifest.tokens:,}" if manifest and manifest.tokens else "-"
        reused = "reused" if stage["reused"] else "made"
        rows.append((stage["name"], stage["key"], stage["digest"][:12], made_from or "-", seconds, tokens, reused))
    columns = ("stage", "key", "digest", "made from", "seconds", "tokens written", "in this run")
    note = "gone: no longer in the store. Seconds are those of the run that made the stage."
    return Table("stages", columns, rows, note)


def _settings(context: RunContext) -> Section:
    rows = [(name, *values) for name, values in context.changed.items()]
    table = Table("settings that differ from the shipped recipe", ("setting", "shipped", "here"), rows)
    none = f"No setting differs from a shipped recipe {context.recipe['name']}, or none of that name is shipped."
    text = yaml.safe_dump(context.recipe, sort_keys=True, width=100)
    return Section("Settings", [] if rows else [none], tables=[table] if rows else [], text=text)


def _versions(context: RunContext, manifests: Mapping[str, Manifest | None]) -> Table:
    known = [manifest for manifest in manifests.values() if manifest]
    code = ", ".join(sorted({manifest.code for manifest in known}))
    stages = ", ".join(sorted({f"{manifest.stage} {manifest.version}" for manifest in known}))
    rows = [("code", code), ("stages", stages), ("engine", context.engine)]
    rows += [("judge", context.judge_model), ("annotator", context.annotator_model)]
    rows += [("worker image", context.worker_image), ("trainer image", context.trainer_image)]
    rows += [("engine image", context.engine_image)]
    return Table("versions", ("what", "version"), [row for row in rows if row[1]])
