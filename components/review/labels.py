"""What people said, as the page saves it, checked before anything counts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.core.errors import UserError
from components.core.records import Label
from components.review.items import Item

FORMAT = "srlm-labels-1"
AGAIN = "Save the labels again with the page that srlm review wrote, or correct the file."


class SavedLabel(BaseModel):
    """One label of a file."""

    model_config = ConfigDict(extra="forbid")

    item: str
    label: str | int | float


class SavedLabels(BaseModel):
    """A file of labels: who made them, and of which run and model."""

    model_config = ConfigDict(extra="forbid")

    format: str
    run: str
    model: str
    labeller: str = Field(min_length=1, max_length=100)
    labels: list[SavedLabel]


def read_labels(path: Path, run: str) -> SavedLabels:
    """The file's labels. Raises UserError where it is none of ours, of another run, or labels an item twice."""
    try:
        saved = SavedLabels.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Name the file that the page saved.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path} holds no labels: {place}: {first['msg']}", AGAIN) from error
    if saved.format != FORMAT:
        raise UserError(f"{path} has the format {saved.format!r}, not {FORMAT!r}", AGAIN)
    if saved.run != run:
        raise UserError(f"{path} has labels of the run {saved.run}, not of {run}", f"srlm review {saved.run} reads it.")
    twice = [item for item, number in Counter(one.item for one in saved.labels).items() if number > 1]
    if twice:
        raise UserError(f"{path} labels {len(twice)} items twice ({', '.join(twice[:3])})", AGAIN)
    return saved


def check_labels(saved: SavedLabels, items: Mapping[str, Item], scale: tuple[float, float]) -> list[Label]:
    """The labels as records. Raises UserError for an item that the run does not have, or a label that is none.

    `items` are those of the model by id, `scale` the lowest and the highest score of the judge.
    """
    unknown = [one.item for one in saved.labels if one.item not in items]
    if unknown:
        raise UserError(
            f"{len(unknown)} of {len(saved.labels)} labels are of items that the run does not have "
            f"({', '.join(unknown[:3])})",
            "They belong to another run or model, or the run's answers were made anew: label a new page.",
        )
    labels = []
    for one in saved.labels:
        kind = items[one.item].kind
        choice = one.label in ("first", "second", "tie")
        score = isinstance(one.label, int | float) and scale[0] <= one.label <= scale[1]
        if not (choice if kind == "order" else score):
            allowed = "first, second or tie" if kind == "order" else f"a number from {scale[0]:g} to {scale[1]:g}"
            raise UserError(f"the label {one.label!r} of {one.item} is not {allowed}", AGAIN)
        label = {"choice": one.label} if choice else {"score": float(one.label)}
        labels.append(Label(id=f"{one.item}/{saved.labeller}", item=one.item, labeller=saved.labeller, **label))  # type: ignore[arg-type]
    return labels


def merged(earlier: Iterable[Label], new: Sequence[Label]) -> list[Label]:
    """All of them in a fixed order; whoever labels an item again has changed their mind."""
    return [label for _, label in sorted(({one.id: one for one in earlier} | {one.id: one for one in new}).items())]
