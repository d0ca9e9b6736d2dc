"""`srlm review`: judgements before a person, and what people said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.core.errors import UserError
from components.core.local_files import write_whole
from components.core.store import join
from pipelines.cli.options import Debug, Store, TrackingUri, console
from pipelines.cli.report import RunName, addresses_of, store_of

if TYPE_CHECKING:
    from components.core.context import RunContext
    from components.core.records import Counts
    from components.review.labels import SavedLabels

commands = typer.Typer()

MLFLOW = "mlflow"  # in place of a file


@commands.command()
def review(
    run: RunName,
    model: Annotated[str, typer.Option(help="m2, m3, ...; default: the run's last.")] = "",
    sample: Annotated[int, typer.Option(min=1, help="How many items the page has.")] = 50,
    seed: Annotated[int, typer.Option(help="Another one draws other items.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; default: review-MODEL.html in .srlm/runs/RUN/.")
    ] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Put the items into review queues of MLflow (3.14 or newer) instead.")
    ] = False,
    labels: Annotated[
        list[str],
        typer.Option("--import", metavar="FILE", help="Labels that the page saved, or mlflow: those of its queues."),
    ] = [],  # noqa: B006
    store: Store = "",
    tracking_uri: TrackingUri = "",
    debug: Debug = False,
) -> None:
    """Write a page on which a person labels judgements of a run, or import what they saved.

    Example: srlm review demo-20261126-035728-3904 --sample 50
    """
    from components.core.context import read_context
    from components.review.labels import read_labels

    if not labels and not queue:
        with store_of(run, store) as root:
            write_page(read_context(join(root, "runs", run)), model, sample, seed, output)
        return
    files = {name: read_labels(Path(name), run) for name in labels if name != MLFLOW}  # before a server starts
    with addresses_of(run, store, tracking_uri) as addresses:
        context = read_context(join(addresses["store"], "runs", run))
        if queue:
            fill_queues(context, addresses["tracking_uri"], model, sample, seed)
        else:
            import_labels(context, files, MLFLOW in labels, addresses["tracking_uri"])


def write_page(context: RunContext, model: str, size: int, seed: int, output: Path | None) -> Path:
    """The page with a sample of what can be asked about the model; returns its path."""
    from components.review.page import render
    from components.review.record import score_format
    from components.review.sample import draw
    from components.review.sources import find_items, require_reviewable
    from pipelines.local.run import run_folder

    model = require_reviewable(context.store, context.run, model)
    items = find_items(context.store, context.run, model)
    asked = draw(items, size, seed)
    path = output or run_folder(context.run) / f"review-{model}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render(context.run, model, asked, score_format(context).points))
    disputed = sum(bool(item.hard) for item in asked)
    _print(f"{len(asked)} of {len(items)} items about {model.upper()}, {disputed} of them in dispute: {path}")
    _print(f"label them in a browser; then srlm review {context.run} --import FILE")
    return path


def fill_queues(context: RunContext, tracking_uri: str, model: str, size: int, seed: int) -> None:
    """The same sample in MLflow's queues."""
    from components.review.queue import send_items
    from components.review.sample import draw
    from components.review.sources import find_items, require_reviewable

    model = require_reviewable(context.store, context.run, model)
    asked = draw(find_items(context.store, context.run, model), size, seed)
    for name in send_items(context, tracking_uri, model, asked):
        _print(f"review queue of MLflow: {name}")
    _print(f"{len(asked)} items; once they are labelled: srlm review {context.run} --import mlflow")


def import_labels(context: RunContext, files: Mapping[str, SavedLabels], queues: bool, tracking_uri: str) -> None:
    """Record the labels of files, with `queues` those of MLflow's, too; decide anew where the gate asks people, and
    write summary and report again."""
    from components.core.stage import read_manifest
    from components.gate.register import decide_with_labels, log_labels
    from components.review.queue import fetch_labels
    from components.review.record import record_saved
    from components.run.html_report import write_report
    from components.run.report import summarise
    from pipelines.local.run import keep_summary

    found = dict(files) | (fetch_labels(context, tracking_uri) if queues else {})
    if not found:
        raise UserError("nobody has labelled an item in MLflow's queues yet", "srlm review --queue fills them.")
    for model, uri in record_saved(context, found).items():
        manifest = read_manifest(uri)
        for line in told(manifest.metrics, manifest.counts):
            _print(f"{model.upper()}: {line}")
        note = decide_with_labels(context.store, tracking_uri, context.run, model)
        if note:
            _print(f"{model.upper()} {note['verdict']}: {'; '.join(note['reasons'])}")
        log_labels(context.store, tracking_uri, context.run, model, manifest.metrics)
    summary = summarise(context.store, context.run)
    keep_summary(summary, write_report(context, summary))


def told(figures: Mapping[str, Any], counts: Counts) -> list[str]:
    """What the labels say, a line a figure; a figure without an item is absent."""
    from components.metrics.statistics import HUMAN, METRICS

    lines = [", ".join(f"{number} {what}" for what, number in counts.kept.items())]
    lines += [f"left out: {number} ({reason})" for reason, number in counts.dropped.items()]
    for name in [name for name in METRICS if name.startswith(HUMAN) and name in figures]:
        low, high, items = (figures[f"{name}_{part}"] for part in ("low", "high", "items"))
        lines.append(
            f"{name} {figures[name]:.3f} ({low:.3f} to {high:.3f}, {items:.0f} items): {METRICS[name].meaning}"
        )
    if "human_between_people" in figures:
        lines.append(f"people agree with each other on {100 * figures['human_between_people']:.0f} %")
    return lines


def _print(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
