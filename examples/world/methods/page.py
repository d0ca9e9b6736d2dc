"""The methods and their figures as Markdown between marks of a page, and as a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from examples.world.judges import JUDGES
from examples.world.methods.results import Row
from examples.world.methods.switches import METHODS, PLAIN, UNTRIED

PAGE = Path("docs/methods.md")
COLUMNS = (
    "method",
    "seeds",
    "last model",
    "right answers",
    "less plain (95 %)",
    "by seed",
    "judge's accuracy",
    "chosen, characters",
    "pairs",
    "calls",
    "seconds",
)
CAPTION = (
    "Means over the seeds that came to their end. Right answers: to held-out questions, at T = 0.7. Less plain: paired "
    "by question over all seeds, with the interval over questions; by seed: the differences of the single seeds. "
    "Chosen and pairs: of each round. Calls and seconds: of answers, judgements and trainings, not of evaluation."
)


def method_table() -> str:
    """The list of methods: what each changes, its paper, its cost."""
    lines = ["| method | what it changes | paper | settings | calls of a round |", "|---|---|---|---|---|"]
    for one in (*METHODS, *UNTRIED):
        settings = "<br>".join(f"`{setting}`" for setting in one.settings) or "none"
        lines.append(f"| {one.name} | {one.meaning} | {one.paper or '-'} | {settings} | {one.calls} |")
    return "\n".join(lines)


def results_table(rows: Sequence[Row]) -> str:
    """A table a world."""
    parts = []
    for world in dict.fromkeys(row.world for row in rows):
        own = [row for row in rows if row.world == world]
        head = [
            f"### `{world}`: {JUDGES[world].meaning}",
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|---" * len(COLUMNS) + "|",
        ]
        parts += [*head, *(f"| {' | '.join(_cells(row))} |" for row in own), ""]
        parts += [f"* {row.method}: {one}." for row in own for one in row.missing]
    return "\n".join([*parts, "", CAPTION])


def _cells(row: Row) -> tuple[str, ...]:
    found, less = row.difference, "-"
    if found and found.value is not None:
        interval = "" if found.low is None else f" ({found.low:+.3f} to {found.high:+.3f})"
        less = f"{found.value:+.3f}{interval}"
    return (
        row.method,
        str(row.seeds),
        row.model.upper() or "-",
        _number(row.sampled, 3),
        less,
        ", ".join(f"{value:+.3f}" for value in row.by_seed) or "-",
        _number(row.judge, 3),
        ", ".join(_number(length, 1) for length in row.lengths) or "-",
        ", ".join(_number(pairs, 0) for pairs in row.pairs) or "-",
        _number(row.calls, 0),
        _number(row.seconds, 0),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def write_methods(page: Path) -> None:
    """The list of methods between its marks."""
    page.write_text(_between("methods", method_table(), page.read_text()))


def write_page(path: Path, rows: Sequence[Row]) -> None:
    """The figures, below the list of methods; a page that is not there yet has nothing but the figures."""
    title, section = "# Methods, held against truth", "## What came out"
    text = path.read_text() if path.is_file() else f"{title}\n"
    if "<!-- results -->" not in text:
        text = f"{text.rstrip()}\n\n{section}\n\n<!-- results -->\n<!-- /results -->\n"
    path.write_text(_between("results", results_table(rows), text))


def _between(mark: str, content: str, text: str) -> str:
    """The text with this content between <!-- mark --> and <!-- /mark -->."""
    marks = re.compile(rf"(?s)(<!-- {mark} -->\n).*(<!-- /{mark} -->)")
    return marks.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def draw(rows: Sequence[Row], path: Path) -> None:
    """One panel a world: each method's difference to the plain loop with its interval, and the single seeds as dots."""
    import matplotlib

    matplotlib.use("Agg")  # to a file, no screen is needed
    from matplotlib import pyplot

    worlds = list(dict.fromkeys(row.world for row in rows))
    figure, panels = pyplot.subplots(
        1, len(worlds), figsize=(1 + 4 * len(worlds), 1.5 + 0.35 * len(METHODS)), squeeze=False, layout="constrained"
    )
    for axes, world in zip(panels[0], worlds, strict=True):
        own = [row for row in rows if row.world == world and row.method != PLAIN.name]
        for place, row in enumerate(reversed(own)):
            if row.difference and row.difference.low is not None:
                axes.plot([row.difference.low, row.difference.high], [place, place], color="tab:blue", linewidth=3)
            axes.plot(row.by_seed, [place] * len(row.by_seed), "o", color="black", markersize=4)
        axes.set_yticks(range(len(own)), [row.method for row in reversed(own)])
        axes.axvline(0, color="tab:gray", linewidth=1)
        axes.set(title=JUDGES[world].meaning, xlabel="right answers, less plain")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
