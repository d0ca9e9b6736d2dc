"""The report of a run: one HTML file that needs nothing beside it, made from the summary and the stages.

It may be opened where nobody watches what it does, and shows what models wrote: every text is escaped by the template,
and the page forbids itself scripts and requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.context import RunContext
from components.core.journal import REPORT
from components.core.page import PAGE_STYLE
from components.core.store import join, open_store
from components.run.charts import Chart, Stack, draw
from components.run.outcome import Outcome
from components.run.sections import Section, sections

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(context: RunContext, summary: Mapping[str, Any]) -> str:
    """Leave the report beside the run's summary; returns it."""
    page = render(context, summary)
    open_store(join(context.store, "runs", context.run)).write(REPORT, page.encode())
    return page


def render(context: RunContext, summary: Mapping[str, Any]) -> str:
    """The page of the run whose summary this is."""
    outcome, parts = sections(context, summary)
    return render_sections(context.run, outcome, parts, context.recipe)


def render_sections(title: str, outcome: Outcome, parts: Sequence[Section], recipe: Mapping[str, Any]) -> str:
    """A page of these sections; the recipe's description, if it has one, stands below the sentence."""
    from jinja2 import Environment, StrictUndefined

    drawn = 0

    def svg(chart: Chart | Stack) -> str:
        nonlocal drawn
        drawn += 1
        return draw(chart, f"chart-{drawn}")  # our own numbers and titles, no text of a model: the template trusts it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = [part for part in parts if part.notes or part.charts or part.tables or part.examples]
    template = environment.from_string(TEMPLATE.read_text())
    said = {"run": title, "recipe": recipe, "outcome": outcome, "sections": shown}
    return template.render(said, svg=svg, style=PAGE_STYLE)
