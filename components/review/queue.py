"""A review in MLflow's queues instead of on our page: the same items, and the same labels back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from components.core.context import RunContext
from components.registry.review_queue import Asked, answers, send
from components.review.items import OTHER, Item
from components.review.labels import FORMAT, SavedLabel, SavedLabels
from components.review.record import score_format

QUESTIONS = {"order": "which answer is better", "score": "score of the answer"}
SIDES = {"order": ("first", "second"), "score": ("answer",)}


def send_items(context: RunContext, tracking_uri: str, model: str, items: Sequence[Item]) -> list[str]:
    """Put the items into MLflow's queues; returns their names. Raises UserError where there are none."""
    scale = score_format(context)
    asked = [
        Asked(
            item.id,
            QUESTIONS[item.kind],
            tuple(OTHER) if item.kind == "order" else (),
            (scale.lowest, scale.highest),
            item.prompt,
            dict(zip(SIDES[item.kind], item.answers, strict=True)),
        )
        for item in items
    ]
    return send(tracking_uri, _experiment(context), context.run, model, asked)


def fetch_labels(context: RunContext, tracking_uri: str) -> dict[str, SavedLabels]:
    """What people answered there, as if each had saved a file for each model; by whose it is."""
    given: dict[tuple[str, str], list[SavedLabel]] = defaultdict(list)
    for one in answers(tracking_uri, _experiment(context), context.run):
        given[one.person, one.model].append(SavedLabel(item=one.item, label=one.value))
    return {
        f"MLflow ({person}, {model})": SavedLabels(
            format=FORMAT, run=context.run, model=model, labeller=person[:100], labels=labels
        )
        for (person, model), labels in given.items()
    }


def _experiment(context: RunContext) -> str:
    """Beside the models' own experiment, whose list of runs it would bury."""
    return f"{context.recipe['name']} review"
