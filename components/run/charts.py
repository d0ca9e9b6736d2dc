"""Charts of the report as inline SVG, each with its numbers as a table for who does not see it.

Colours are names of the page's style sheet, so one drawing serves light, dark and paper; series also differ in their
marks and lines.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from components.core.page import Table
from components.run.tables import format_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SERIES = "#010101", ("#020202", "#030303", "#040404", "#050505", "#060606")  # stand for the page's own colours
MARKS, LINES = "osD^v", ("-", "--", "-.", ":", (0, (5, 1)))
DRAWN_POINTS, TOLD_POINTS = 300, 20  # of a curve: more are neither seen nor read
WIDTH, HEIGHT = 4.2, 2.7  # inches: as wide as a phone, so that its text stays readable there


class Point(NamedTuple):
    """A value at `x` (a label, or a number on a curve), with its interval where it has one."""

    x: str | float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Chart:
    """What is drawn: `points` with intervals, `bars` side by side, or `curves`. The series are in the order of names.

    `share`: values are shares of 1, shown in percent. An unknown value is no point.
    """

    title: str
    kind: Literal["points", "bars", "curves"]
    series: dict[str, Sequence[Point]]
    x: str
    share: bool = False
    note: str = ""

    def table(self) -> Table:
        """A row for each x, a column for each series; of long curves rows at equal distances, the last among them."""
        found = {point.x: None for points in self.series.values() for point in points}
        places = sorted(found) if self.kind == "curves" else list(found)  # type: ignore[type-var]
        shown = thinned(places, TOLD_POINTS)
        cells = {
            (name, point.x): with_interval(point.value, point.low, point.high, self.share)
            for name, points in self.series.items()
            for point in points
        }
        rows = [(str(x), *(cells.get((name, x), "-") for name in self.series)) for x in shown]
        note = f"{len(shown)} of {len(places)} points are told." if len(shown) < len(places) else ""
        return Table(self.title, (self.x, *self.series), rows, note)


@dataclass(frozen=True)
class Stack:
    """Charts of one kind and title, one above the other on equal axes; `charts` are by what they show, a run say."""

    charts: Mapping[str, Chart]

    @property
    def title(self) -> str:
        return next(iter(self.charts.values())).title

    @property
    def note(self) -> str:
        return next(iter(self.charts.values())).note

    def table(self) -> Table:
        """The rows of all, each behind whose it is; series that one of them lacks are dashes there."""
        tables = {name: chart.table() for name, chart in self.charts.items()}
        columns = list(dict.fromkeys(column for table in tables.values() for column in table.columns))
        rows = [
            (name, *(dict(zip(table.columns, row, strict=True)).get(column, "-") for column in columns))
            for name, table in tables.items()
            for row in table.rows
        ]
        return Table(self.title, ("run", *columns), rows, next(iter(tables.values())).note)


def with_interval(value: float | None, low: float | None, high: float | None, share: bool, sign: str = "") -> str:
    """A figure as people write it; it and its interval are not broken into lines."""
    told = [format_figure(one, share, sign).replace(" ", "\u00a0") for one in (value, low, high)]
    return told[0] if low is None or high is None else f"{told[0]} ({told[1]}\u00a0to\u00a0{told[2]})"


def thinned(points: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, at equal distances, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(number * (len(points) - 1) / (most - 1))] for number in range(most)]


def draw(chart: Chart | Stack, name: str) -> str:
    """The chart, or charts one above the other, as an `svg` element; `name` is unique on its page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    colours: Any = {f"{part}.color": INK for part in ("text", "xtick", "ytick")}
    colours |= {"axes.edgecolor": INK, "axes.labelcolor": INK, "figure.facecolor": "none", "axes.facecolor": "none"}
    how: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10, "axes.spines.top": False}
    panels = chart.charts if isinstance(chart, Stack) else {"": chart}
    with matplotlib.rc_context({**how, **colours, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(WIDTH, HEIGHT * (0.25 + 0.75 * len(panels))), layout="constrained")
        stacked = figure.subplots(len(panels), sharex=True, sharey=True, squeeze=False)[:, 0]
        one = max(panels.values(), key=lambda panel: len(panel.series))
        places = _places(panels.values())
        for axes, (title, panel) in zip(stacked, panels.items(), strict=True):
            _DRAWN[panel.kind](axes, panel, places)
            axes.set_title(title, loc="left", fontsize=9)
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if one.share else f"{value:g}")
            axes.grid(axis="y", color=INK, alpha=0.15)
        if one.share and max(axes.dataLim.y1 for axes in stacked) <= 1:
            low, high = stacked[0].get_ylim()  # a judge that is always right would have an axis to 104 %
            stacked[0].set_ylim(top=min(high, 1 + 0.04 * (1 - low)))
        stacked[-1].set_xlabel(one.x)
        if len(one.series) > 1:
            handles, labels = stacked[list(panels.values()).index(one)].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=9)
        output = io.StringIO()
        FigureCanvasSVG(figure).print_svg(output, metadata={"Date": None})
    return _inline(output.getvalue(), name, chart.title)


def _places(charts: Iterable[Chart]) -> list[str | float]:
    """What stands on the axis of charts with labels: the places of all of them, scores in their order."""
    found = dict.fromkeys(point.x for chart in charts for points in chart.series.values() for point in points)
    numbers = all(str(place).replace(".", "", 1).isdigit() for place in found)
    return sorted(found, key=float) if numbers else list(found)


def _points(axes: Axes, chart: Chart, places: Sequence[str | float]) -> None:
    for number, (name, points) in enumerate(chart.series.items()):
        style: dict[str, Any] = {"color": SERIES[number % len(SERIES)], "marker": MARKS[number % len(MARKS)]}
        x = [places.index(point.x) + 0.12 * number for point in points]
        axes.plot(x, [point.value for point in points], label=name, linestyle=LINES[number % len(LINES)], **style)
        for place, point in zip(x, points, strict=True):
            if point.low is not None and point.high is not None:
                axes.vlines(place, point.low, point.high, color=style["color"])
    axes.set_xticks(range(len(places)), [str(place) for place in places])
    axes.margins(x=0.15)


def _bars(axes: Axes, chart: Chart, places: Sequence[str | float]) -> None:
    width = 0.8 / len(chart.series)
    for number, (name, points) in enumerate(chart.series.items()):
        x = [places.index(point.x) + width * (number - (len(chart.series) - 1) / 2) for point in points]
        hatch = ("", "//", "..", "xx", "\\\\")[number % 5]
        colour = SERIES[number % len(SERIES)]
        values = [point.value for point in points]
        axes.bar(x, values, width, label=name, facecolor="none" if hatch else colour, edgecolor=colour, hatch=hatch)
    axes.set_xticks(range(len(places)), [str(place) for place in places])


def _curves(axes: Axes, chart: Chart, _: Sequence[str | float]) -> None:
    for number, (name, points) in enumerate(chart.series.items()):
        drawn = thinned(points, DRAWN_POINTS)
        style: dict[str, Any] = {"color": SERIES[number % len(SERIES)], "linestyle": LINES[number % len(LINES)]}
        mark = MARKS[number % len(MARKS)] if len(drawn) <= TOLD_POINTS else ""
        axes.plot([one.x for one in drawn], [one.value for one in drawn], label=name, marker=mark, **style)


_DRAWN = {"points": _points, "bars": _bars, "curves": _curves}


def _inline(drawing: str, name: str, title: str) -> str:
    """matplotlib's document as an element of a page: no header, ids of its own, colours of the page, a name."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", drawing[drawing.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # would count for the whole page
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg)
    for number, colour in enumerate(SERIES, 1):
        svg = svg.replace(colour, f"var(--series-{number})")
    size = r'width="[^"]*" height="[^"]*" viewBox'
    head = f'role="img" aria-label="{html.escape(title)}; its numbers stand below" viewBox'
    return re.sub(size, head, svg.replace(INK, "currentColor"), count=1)
