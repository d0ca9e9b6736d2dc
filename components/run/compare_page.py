"""The page and the tables of `srlm compare`, drawn by the report's own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.core.page import Table
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Estimate
from components.metrics.statistics import METRICS
from components.run.charts import Chart, Stack, with_interval
from components.run.comparison import Change, Row, verdict
from components.run.figures import SHARES, length_chart, model_charts, score_chart
from components.run.html_report import render_sections
from components.run.outcome import Outcome
from components.run.sections import Section, training_charts

NOTE = (
    "change: the run's figure less the first run's, with its interval. paired: on the items that both measured, drawn "
    "together, so what makes an item hard cancels out. unpaired: on other items, drawn apart, which is less sure. Few "
    "items prove little, and of many figures some differ by luck alone."
)
Summary = Mapping[str, Any]
Settings = Mapping[str, Sequence[str]]


def render_comparison(summaries: Sequence[Summary], rows: Sequence[Row], settings: Settings, policy: GatePolicy) -> str:
    """The page; `settings` are those that differ, by dotted name, a value for each run."""
    names = [summary["run"] for summary in summaries]
    sentence = verdict(rows, names, list(policy.improve), policy.resampling(), policy.min_items)
    parts = [
        Section("Settings that differ", **_told(settings_table(settings, names))),
        Section("Figures", tables=[figures_table(rows, names)]),
        Section("Figures by model", charts=_stacks([model_charts(one["models"]) for one in summaries], names)),
        Section("Scores and lengths", charts=_stacks([_of_rounds(one) for one in summaries], names)),
        Section("Training", charts=_stacks([training_charts(one["stages"]) for one in summaries], names)),
    ]
    return render_sections(" and ".join(names), Outcome(sentence), parts, {"description": ""})


def settings_table(settings: Settings, names: Sequence[str]) -> Table:
    rows = [(name, *values) for name, values in settings.items()]
    return Table("settings that differ", ("setting", *names), rows)


def figures_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """A row for each figure of each model that differs; a dash is what was not measured."""
    changes = [f"change in {name}" if len(names) > 2 else "change" for name in names[1:]]
    cells = []
    differ = [row for row in rows if len({one.value if one else None for one in row.values}) > 1]
    for row in differ:
        share = row.metric in SHARES
        values = [_value(estimate, share) for estimate in row.values]
        cells.append((f"{row.model} {row.metric}", *values, *(_change(one, share) for one in row.changes)))
    equal = f" {len(rows) - len(differ)} figures are the same in all runs." if len(differ) < len(rows) else ""
    return Table("figures that differ", ("figure", *names, *changes), cells, NOTE + equal)


def as_json(rows: Sequence[Row], settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    """Everything that the page says, for scripts; what is unknown is null."""
    figures = [
        {
            "model": row.model,
            "metric": row.metric,
            "meaning": METRICS[row.metric].meaning,
            "values": [one._asdict() if one else None for one in row.values],
            "changes": [{**one.estimate._asdict(), "how": one.how} if one else None for one in row.changes],
        }
        for row in rows
    ]
    told = {name: list(values) for name, values in settings.items()}
    return {"runs": list(names), "settings": told, "figures": figures}


def _told(table: Table) -> dict[str, Any]:
    return {"tables": [table]} if table.rows else {"notes": ["No setting differs."]}


def _value(estimate: Estimate | None, share: bool) -> str:
    return "-" if estimate is None else with_interval(estimate.value, estimate.low, estimate.high, share)


def _change(change: Change | None, share: bool) -> str:
    if change is None:
        return "-"
    estimate = change.estimate
    if estimate.value is None:
        return change.how
    told = with_interval(estimate.value, estimate.low, estimate.high, share, sign="+")
    return f"{told}; {change.how.partition(':')[0]}, {estimate.items} items"


def _of_rounds(summary: Summary) -> list[Chart]:
    return [chart for chart in (score_chart(summary["rounds"]), length_chart(summary["rounds"])) if chart]


def _stacks(charts: Sequence[Sequence[Chart]], names: Sequence[str]) -> list[Stack]:
    """Charts of the same title, one above the other, in the order of the runs; what one run has alone stands alone."""
    titles = dict.fromkeys(chart.title for of_run in charts for chart in of_run)
    by_title = [{chart.title: chart for chart in of_run} for of_run in charts]
    return [
        Stack({name: found[title] for name, found in zip(names, by_title, strict=True) if title in found})
        for title in titles
    ]
