"""What people are asked, what their labels say, and that nothing else counts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from components.core.context import RunContext
from components.core.errors import UserError
from components.core.records import Label
from components.core.stage import read_manifest, read_records
from components.metrics.bootstrap import Resampling, interval
from components.metrics.statistics import METRICS
from components.review.agreement import observe
from components.review.items import Item
from components.review.labels import FORMAT
from components.review.record import record_labels
from components.review.sample import draw, stratum
from components.review.sources import find_items, reviewable
from components.run.report import summary_of
from tests.helpers.reviewed_run import CLEAR, DISPUTED, PROMPTS, TIED, make_reviewed_run

OPPOSITE = {"first": "second", "second": "first"}


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return make_reviewed_run(tmp_path / "store")


@pytest.fixture
def items(run: RunContext) -> list[Item]:
    return find_items(run.store, run.run, "m2")


def save(folder: Path, given: dict[str, Any], labeller: str = "ann", **changes: Any) -> Path:
    path = folder / f"{labeller}-{len(list(folder.iterdir()))}.json"
    lines = [{"item": item, "label": label} for item, label in given.items()]
    saved = {"format": FORMAT, "run": "finished", "model": "m2", "labeller": labeller, "labels": lines}
    path.write_text(json.dumps(saved | changes))
    return path


def by_wilson(agreed: float, number: float) -> tuple[float, float]:
    """The two roots of (p - x)^2 = z^2 x (1 - x) / n, which is what Wilson's interval is."""
    z, p = 1.959964, agreed / number
    a, b, c = 1 + z * z / number, -2 * p - z * z / number, p * p
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def pairs_of(items: list[Item]) -> list[Item]:
    return [item for item in items if item.kind == "order"]


def test_what_is_asked_are_the_pairs_the_ties_and_a_score_of_each_prompt(run: RunContext, items: list[Item]) -> None:
    """48 pairs of which 8 are in dispute, 12 ties, and one answer of each prompt."""
    orders = pairs_of(items)
    assert len(orders) == PROMPTS and len(items) == 2 * PROMPTS and len({item.id for item in items}) == 2 * PROMPTS
    assert sum(item.told == "tie" for item in orders) == TIED
    assert sum(item.hard == "a judgement could not be read" for item in orders) == DISPUTED
    assert reviewable(run.store, run.run) == ["m1", "m2"]


def test_the_better_answer_stands_first_as_often_as_second(items: list[Item]) -> None:
    """A coin for each of 48: fewer than 12 or more than 36 have a chance of 0.0003."""
    first = [item for item in pairs_of(items) if item.told == "first"]
    assert 12 <= len(first) <= 36
    assert all(item.answers[0].endswith("/0") for item in first)


def test_half_of_the_sample_is_in_dispute_and_the_same_seed_draws_the_same(items: list[Item]) -> None:
    """35 pairs of 50, of which 17 are in dispute; 5 scores."""
    drawn = draw(items, 50, 1)
    assert len(drawn) == 50 and draw(items, 50, 1) == drawn != draw(items, 50, 2)
    orders = pairs_of(drawn)
    assert sum(bool(item.hard) for item in orders) >= 17 and len(orders) >= 35
    assert len(draw(items, 1000, 0)) == len(items) and len(draw(items, 1, 0)) == 1


def test_agreement_is_that_of_all_pairs_though_disputed_ones_are_asked_more_often(items: list[Item]) -> None:
    """A person agrees on 9 of 10 clear pairs and on 1 of 4 disputed ones. Clear ones stand for 40 / 10 = 4 each,
    disputed ones (with the ties, 20, of which 4 pairs and 1 tie are labelled) for 20 / 5 = 4.
    """
    clear = [item for item in pairs_of(items) if not item.hard][:10]
    hard = [item for item in pairs_of(items) if item.hard and item.told != "tie"][:4]
    tie = next(item for item in pairs_of(items) if item.told == "tie")
    wrong = {clear[0].id, *(item.id for item in hard[1:])}
    choices = {item.id: OPPOSITE[str(item.told)] if item.id in wrong else item.told for item in [*clear, *hard]}
    labels = [_label(id, choice) for id, choice in (choices | {tie.id: "tie"}).items()]
    observed = observe({item.id: item for item in items}, labels)
    without = interval(METRICS["human_agreement"], observed["human_agreement"], Resampling())
    assert without.value == pytest.approx(10 / 14) and without.items == 14
    assert (without.low, without.high) == pytest.approx(by_wilson(10, 14), abs=1e-4)
    ties = interval(METRICS["human_agreement_with_ties"], observed["human_agreement_with_ties"], Resampling())
    assert ties.value == pytest.approx(11 / 15)


def test_unequal_weights_leave_fewer_items_to_go_by(items: list[Item]) -> None:
    """4 of 40 clear pairs and all 20 others: weights 10 and 1. All clear ones agree, and 2 of the 8 disputed pairs.
    Value (40 + 2) / (40 + 8); effective number 48^2 / (4 * 100 + 8) = 5.65."""
    clear = [item for item in pairs_of(items) if not item.hard][:4]
    hard = [item for item in pairs_of(items) if item.hard]
    disputed = [item for item in hard if item.told != "tie"]
    right = {item.id for item in [*clear, *disputed[:2]]}
    labels = [
        _label(item.id, item.told if item.id in right or item.told == "tie" else OPPOSITE[str(item.told)])
        for item in [*clear, *hard]
    ]
    observed = observe({item.id: item for item in items}, labels)["human_agreement"]
    estimate = interval(METRICS["human_agreement"], observed, Resampling())
    assert estimate.value == pytest.approx(42 / 48) and estimate.items == 12
    effective = 48**2 / 408
    assert (estimate.low, estimate.high) == pytest.approx(by_wilson(effective * 42 / 48, effective), abs=1e-4)


def test_labels_that_all_agree_are_no_certainty(items: list[Item]) -> None:
    """30 of 30: Wilson's lower end is 30 / (30 + z^2) = 0.886."""
    clear = [item for item in pairs_of(items) if not item.hard][:30]
    observed = observe({item.id: item for item in items}, [_label(item.id, item.told) for item in clear])
    estimate = interval(METRICS["human_agreement"], observed["human_agreement"], Resampling())
    assert (estimate.value, estimate.high) == (1.0, pytest.approx(1.0))
    assert estimate.low == pytest.approx(30 / (30 + 1.959964**2), abs=1e-6)


def test_scores_within_a_point_agree_and_an_unread_judgement_says_nothing(items: list[Item]) -> None:
    score = next(item for item in items if item.kind == "score" and item.told == 4.0)
    by_id = {item.id: item for item in items}
    for given, agrees in ((5.0, 1.0), (3.0, 1.0), (2.0, 0.0)):
        label = Label(id="x", item=score.id, labeller="ann", score=given)
        (values,) = observe(by_id, [label])["human_within_one"].values()
        assert values[0] / values[1] == agrees
    silent = by_id | {score.id: Item(score.id, "score", "judge", "", ("",), None, "unread", ())}
    assert observe(silent, [label]) == {}


def test_two_people_share_an_item_and_a_new_label_takes_the_place_of_the_old(
    run: RunContext, items: list[Item], tmp_path: Path
) -> None:
    """Ann and Bob differ on one of two pairs; then Ann changes her mind."""
    one, other = [item for item in pairs_of(items) if not item.hard][:2]
    both = {one.id: one.told, other.id: other.told}
    differs = both | {other.id: OPPOSITE[str(other.told)]}
    (uri,) = record_labels(run, [save(tmp_path, both, "ann"), save(tmp_path, differs, "bob")]).values()
    figures = read_manifest(uri).metrics
    assert figures["human_agreement"] == pytest.approx(0.75) and figures["human_agreement_items"] == 2
    assert figures["human_between_people"] == 0.5 and figures["human_labellers"] == 2
    (again,) = record_labels(run, [save(tmp_path, differs, "ann")]).values()
    assert read_manifest(again).metrics["human_agreement"] == 0.5
    assert len(read_records(again, "labels", Label)) == 4
    assert (
        next(m for m in summary_of(run.store, run.run)["models"] if m["name"] == "m2")["metrics"]["human_agreement"]
        == 0.5
    )


@pytest.mark.parametrize(
    ("given", "changes", "problem"),
    [
        ({"nobody": "first"}, {}, "1 of 1 labels are of items that the run does not have"),
        ({"PAIR": "better"}, {}, "is not first, second or tie"),
        ({"PAIR": 3}, {}, "is not first, second or tie"),
        ({"SCORE": 6}, {}, "is not a number from 0 to 5"),
        ({"SCORE": "first"}, {}, "is not a number from 0 to 5"),
        ({"PAIR": "first"}, {"run": "another"}, "labels of the run another"),
        ({"PAIR": "first"}, {"model": "m9"}, "nothing to review of 'm9', but of m1, m2"),
        ({"PAIR": "first"}, {"labeller": ""}, "labeller"),
        ({"PAIR": "first"}, {"format": "csv"}, "has the format 'csv'"),
        ({"PAIR": "first"}, {"labels": [{"item": "a", "label": "tie"}] * 2}, "labels 1 items twice"),
        ({"PAIR": True}, {}, "is not first, second or tie"),
        ({"SCORE": math.nan}, {}, "NaN|nan|not a number"),
    ],
)
def test_a_wrong_file_is_refused_and_nothing_is_recorded(
    run: RunContext, items: list[Item], tmp_path: Path, given: Any, changes: Any, problem: str
) -> None:
    ids = {name: next(i.id for i in items if i.kind == kind) for name, kind in (("PAIR", "order"), ("SCORE", "score"))}
    path = save(tmp_path, {ids.get(item, item): label for item, label in given.items()}, **changes)
    with pytest.raises(UserError, match=problem):
        record_labels(run, [path])
    assert not (tmp_path / "store" / "review").exists()


def test_two_files_of_one_person_must_not_label_the_same(run: RunContext, items: list[Item], tmp_path: Path) -> None:
    id = pairs_of(items)[0].id
    with pytest.raises(UserError, match="another of the files has, too"):
        record_labels(run, [save(tmp_path, {id: "first"}), save(tmp_path, {id: "second"})])


def test_a_stratum_is_known_by_kind_rater_and_dispute(items: list[Item]) -> None:
    assert {stratum(item) for item in items} == {
        (kind, "judge", hard) for kind in ("order", "score") for hard in (True, False)
    }
    assert sum(not item.hard for item in pairs_of(items)) == CLEAR


def _label(item: str, choice: Any) -> Label:
    return Label(id=f"{item}/ann", item=item, labeller="ann", choice=choice)
