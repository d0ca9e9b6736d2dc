"""Labels that people saved, recorded in the run: a stage of their own for each model, in the run's journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from components.core.context import RunContext
from components.core.errors import UserError
from components.core.journal import read_journal
from components.core.progress import warn
from components.core.records import Label
from components.core.stage import read_records
from components.judging.parser import ScoreFormat
from components.judging.settings import RoundJudgingSettings
from components.review.agreement import review_stage
from components.review.items import Item
from components.review.labels import SavedLabels, check_labels, merged, read_labels
from components.review.sources import find_items, require_reviewable


def score_format(context: RunContext) -> ScoreFormat:
    """The scale on which the run's judge, and so a person, scores an answer."""
    return context.section("judging", RoundJudgingSettings).judge_prompt().score_format


def record_labels(context: RunContext, paths: Sequence[Path]) -> dict[str, str]:
    """Record the labels that these files hold: see record_saved."""
    return record_saved(context, {str(path): read_labels(path, context.run) for path in paths})


def record_saved(context: RunContext, found: Mapping[str, SavedLabels]) -> dict[str, str]:
    """Check labels, by where they are from, and publish a stage review for each model; returns their URIs by the model.

    What was labelled before stays, and a person's new label of an item takes the place of their old one. Raises
    UserError, and records nothing, where a file is wrong or two files have one person's labels of one item.
    """
    items: dict[str, dict[str, Item]] = {}
    labels: dict[str, list[Label]] = {}
    for path, saved in found.items():
        require_reviewable(context.store, context.run, saved.model)
        if saved.model not in items:
            items[saved.model] = {item.id: item for item in find_items(context.store, context.run, saved.model)}
        scale = score_format(context)
        new = check_labels(saved, items[saved.model], (scale.lowest, scale.highest))
        known = {label.id for label in labels.setdefault(saved.model, [])}
        if twice := [label.item for label in new if label.id in known]:
            raise UserError(
                f"{path} has labels by {saved.labeller} that another of the files has, too ({', '.join(twice[:3])})",
                "Import one person's files one after the other, the newest last.",
            )
        labels[saved.model] += new
    return {model: _publish(context, model, items[model], new) for model, new in labels.items()}


def _publish(context: RunContext, model: str, items: Mapping[str, Item], new: Sequence[Label]) -> str:
    """The stage of all labels of the model so far; earlier ones of texts that the run no longer has are counted."""
    name = f"{model}/review"
    stages = {stage["name"]: stage["uri"] for stage in read_journal(context.store, context.run, "stages")}
    earlier = read_records(stages[name], "labels", Label) if name in stages else []
    if gone := [label for label in earlier if label.item not in items]:
        warn(f"{len(gone)} earlier labels of {model.upper()} are of texts that were made anew: they no longer count")
    labels = merged([label for label in earlier if label.item in items], new)
    return context.make(name, lambda: review_stage(context.store, model, items, labels))
