"""The report of a run: one HTML file that needs nothing beside it, made from the summary and the stages.

It may be opened where nobody watches what it does, and shows what models wrote: every text is escaped by the template,
and the page forbids itself scripts and requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.context import RunContext
from components.core.journal import REPORT
from components.core.store import join, open_store
from components.run.charts import Chart, draw
from components.run.sections import sections

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(context: RunContext, summary: Mapping[str, Any]) -> str:
    """Leave the report beside the run's summary; returns it."""
    page = render(context, summary)
    open_store(join(context.store, "runs", context.run)).write(REPORT, page.encode())
    return page


def render(context: RunContext, summary: Mapping[str, Any]) -> str:
    """The page of the run whose summary this is."""
    from jinja2 import Environment, StrictUndefined

    drawn = 0

    def svg(chart: Chart) -> str:
        nonlocal drawn
        drawn += 1
        return draw(chart, f"chart-{drawn}")  # our own numbers and titles, no text of a model: the template trusts it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    outcome, parts = sections(context, summary)
    shown = [part for part in parts if part.notes or part.charts or part.tables or part.examples]
    template = environment.from_string(TEMPLATE.read_text())
    return template.render(run=context.run, recipe=context.recipe, outcome=outcome, sections=shown, svg=svg)
