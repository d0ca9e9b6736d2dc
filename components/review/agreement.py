"""How far judge and annotator agree with people: a stage of the labels and what they say (issue 15).

Few figures, each with a level by chance that everybody knows: of pairs that both put in an order, those in the same
order (0.5 by chance; ties left out, as in pairwise_accuracy and in Zheng et al. 2023's second setup), the same with
ties as a third answer (their first setup), and of scores those within one point of the judge's mean. Where people
labelled one item they share its weight.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

from components.core.hashing import content_hash
from components.core.records import Counts, Label, Manifest, Parent
from components.core.settings import Settings
from components.core.stage import Stage
from components.metrics.bootstrap import Resampling
from components.metrics.observations import Values, figures, observations
from components.review.items import Item
from components.review.sample import stratum, weights

NAMES = {"judge": "human_agreement", "annotator": "human_annotator_agreement"}
WITH_TIES, WITHIN_ONE = "_with_ties", "human_within_one"


def review_stage(root: str, model: str, items: Mapping[str, Item], labels: Sequence[Label]) -> Manifest:
    """The stage review: records "labels" and "observations", and the figures as its metrics.

    `items` are all that could be asked about the model, by id; what the labels say is said of all of these. `model` is
    its name in the run.
    """
    said = content_hash([label.model_dump(mode="json") for label in labels])
    asked = content_hash(sorted([item.id, item.told, bool(item.hard)] for item in items.values()))
    inputs = {
        "labels": Parent(uri=f"what people said of {model}", digest=said),
        "items": Parent(uri=f"what can be asked about {model}", digest=asked),
    }
    stage = Stage(root, "review", Settings(), inputs)
    if stage.manifest:
        return stage.manifest
    observed = observe(items, labels)
    metrics = figures(observed, Resampling()) | between_people(labels)
    return stage.publish(
        count(items, labels), {"labels": labels, "observations": observations(observed)}, metrics=metrics
    )


def observe(items: Mapping[str, Item], labels: Sequence[Label]) -> dict[str, Values]:
    """By metric and item: weight times the share of its people who agree, and weight."""
    by_item: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_item[label.item].append(label)
    weight, observed = weights(items.values(), by_item), defaultdict[str, Values](dict)
    for id, given in by_item.items():
        item, stands_for = items[id], weight[stratum(items[id])]
        if item.told is None:
            continue
        agreed = [_agrees(item, label) for label in given]
        if item.kind == "score":
            observed[WITHIN_ONE][id] = (stands_for * fmean(agreed), stands_for)
            continue
        name = NAMES[item.rater]
        observed[name + WITH_TIES][id] = (stands_for * fmean(agreed), stands_for)
        ordered = [agrees for agrees, label in zip(agreed, given, strict=True) if label.choice != "tie"]
        if ordered and item.told != "tie":
            observed[name][id] = (stands_for * fmean(ordered), stands_for)
    return dict(observed)


def _agrees(item: Item, label: Label) -> float:
    """1 or 0."""
    if item.kind == "order":
        return float(label.choice == item.told)
    return float(label.score is not None and abs(label.score - float(item.told or 0)) <= 1)


def between_people(labels: Sequence[Label]) -> dict[str, float]:
    """Of the items that two people labelled, the share of pairs of people who say the same: no judge can do better.

    Choices must be equal, scores within one point. Nothing where no item has two labels.
    """
    by_item: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_item[label.item].append(label)
    same = []
    for given in by_item.values():
        for one, other in combinations(given, 2):
            scores = one.score is not None and other.score is not None
            close = scores and abs((one.score or 0) - (other.score or 0)) <= 1
            same.append(float(close if scores else one.choice == other.choice))
    people = float(len({label.labeller for label in labels}))
    return {"human_labellers": people} | ({"human_between_people": fmean(same)} if same else {})


def count(items: Mapping[str, Item], labels: Sequence[Label]) -> Counts:
    """Labels by kind; those of items of which the rater said nothing that could be read are left out of the figures."""
    kept, dropped = Counter[str](), Counter[str]()
    for label in labels:
        item = items[label.item]
        kept["labels of scores" if item.kind == "score" else f"labels of the {item.rater}'s pairs"] += 1
        kept["labels of items in dispute"] += bool(item.hard)
        kept["ties by people"] += label.choice == "tie"
        dropped[f"label: the {item.rater} gave no verdict"] += item.told is None
    return Counts(kept=dict(+kept), dropped=dict(+dropped))
