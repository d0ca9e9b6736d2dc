"""Outcomes as a table and as a picture: true accuracy by model, beside it what the judge is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from examples.world.conditions import CONDITIONS
from examples.world.outcome import GREEDY, SAMPLED, MeasuredModel, Outcome

COLUMNS = ("", "model", "sampled (95 %)", "greedy (95 %)", "judge's accuracy", "parsed", "pairs", "gate")
CAPTION = (
    "sampled, greedy: right answers to questions that were held out, at T = 0.7 and T = 0. judge's accuracy: pairs of "
    "replies that the model orders by truth, score ties left out. parsed: its judgements with a valid score. pairs: "
    "what it made for the next model."
)
COLOURS = dict(zip([one.name for one in CONDITIONS], ("tab:green", "tab:gray", "tab:red"), strict=True))
PANELS = {
    SAMPLED: "right answers (T = 0.7)",
    "pairwise_accuracy": "judge's accuracy",
    "parse_rate": "judgements parsed",
}


def table(outcomes: Sequence[Outcome]) -> Table:
    shown = Table(title="a world where truth is known", title_justify="left", caption=CAPTION, caption_justify="left")
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in ("", "model", "gate") else "right", no_wrap=True)
    for outcome in outcomes:
        for number, model in enumerate(outcome.models):
            shown.add_row(outcome.title if number == 0 else "", *_row(model))
        shown.add_section()
    return shown


def _row(model: MeasuredModel) -> tuple[str, ...]:
    return (
        model.name.upper(),
        _with_interval(model, SAMPLED),
        _with_interval(model, GREEDY),
        _share(model, "pairwise_accuracy"),
        _share(model, "parse_rate"),
        "-" if model.pairs is None else str(model.pairs),
        model.verdict,
    )


def _with_interval(model: MeasuredModel, metric: str) -> str:
    low, high = _share(model, f"{metric}_low"), _share(model, f"{metric}_high")
    return _share(model, metric) + (f" ({low} to {high})" if f"{metric}_low" in model.metrics else "")


def _share(model: MeasuredModel, metric: str) -> str:
    return f"{model.metrics[metric]:.3f}" if metric in model.metrics else "-"


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """The picture: one line a run, coloured by condition, with 95 % intervals as bars."""
    import matplotlib

    matplotlib.use("Agg")  # to a file, no screen is needed
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(12, 4), layout="constrained")
    for axes, (metric, title) in zip(panels, PANELS.items(), strict=True):
        for outcome in outcomes:
            _draw_line(axes, outcome, metric)
        axes.set(title=title, ylim=(0, 1.03))
        axes.grid(alpha=0.3)
    for condition in CONDITIONS:
        panels[1].plot([], [], color=COLOURS[condition.name], label=condition.meaning)
    panels[1].legend(loc="lower left")  # no line comes down to there
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _draw_line(axes: Any, outcome: Outcome, metric: str) -> None:
    models = [model for model in outcome.models if metric in model.metrics]
    names, values = [model.name.upper() for model in models], [model.metrics[metric] for model in models]
    below = [value - model.metrics.get(f"{metric}_low", value) for value, model in zip(values, models, strict=True)]
    above = [model.metrics.get(f"{metric}_high", value) - value for value, model in zip(values, models, strict=True)]
    # resampling may put an end of the interval a rounding error on the wrong side of a share of 1
    bars = [[max(0.0, length) for length in lengths] for lengths in (below, above)]
    axes.errorbar(names, values, yerr=bars, color=COLOURS[outcome.condition], marker="o", capsize=3)
