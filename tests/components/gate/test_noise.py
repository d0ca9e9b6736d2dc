"""A model's figures beside those of its trainings with other seeds, as a stage and as people read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.records import TrainingNoise
from components.core.stage import read_manifest, read_records
from components.core.store import join
from components.gate.gate import GatedModel
from components.gate.noise import compare_trainings, noise_lines, noise_markdown, noise_table
from tests.helpers.registered_models import make_model, measure, policy

METRIC = "pairwise_accuracy"


def gated(root: Path, weights: str, right: int) -> GatedModel:
    """A model of which the judge orders `right` of 40 pairs as people did."""
    model = make_model(root, weights)
    return GatedModel(model, [measure(root, model, right)])


def compared(root: Path, own: int, before: int, *again: int) -> str:
    models = [gated(root, f"seed {n}", right) for n, right in enumerate(again, 1)]
    made = compare_trainings(str(root), policy("x"), gated(root, "own", own), gated(root, "before", before), models)
    return join(str(root), made.stage, made.key)


def figure(noise: str) -> TrainingNoise:
    (only,) = read_records(noise, "figures", TrainingNoise)
    assert only.id == METRIC
    return only


def test_a_change_that_another_seed_would_not_undo(tmp_path: Path) -> None:
    """30, 28 and 32 of 40: 0.75, 0.7, 0.8, mean 0.75, sd 0.05. Against 20 of 40: +0.25, +0.2, +0.3, so the next one
    within 0.25 -+ 4.3027 * 0.05 * sqrt(4/3) = 0.25 -+ 0.2484, above 0 as the interval over prompts is."""
    found = figure(noise := compared(tmp_path, 30, 20, 28, 32))
    assert (found.value, found.items, found.trainings) == (0.75, 40, [0.75, 0.7, 0.8])
    assert (found.mean, found.deviation) == (pytest.approx(0.75), pytest.approx(0.05))
    assert found.change == 0.25 and found.change_low is not None and found.change_low > 0
    assert (found.seeds_low, found.seeds_high) == (pytest.approx(0.0016, abs=1e-4), pytest.approx(0.4984, abs=1e-4))
    assert found.beyond_noise is True
    kept = read_manifest(noise).counts.kept
    assert (kept["trainings"], kept["different models"]) == (3, 3)
    assert "beyond prompts and seeds: pairwise_accuracy +0.250" in noise_lines(noise)[1]


def test_a_change_that_is_sure_over_prompts_and_not_over_seeds(tmp_path: Path) -> None:
    """0.75, 0.55, 0.95: the sd is 0.2, and 4.3027 * 0.2 * sqrt(4/3) is more than 0.25."""
    found = figure(noise := compared(tmp_path, 30, 20, 22, 38))
    assert found.change_low is not None and found.change_low > 0
    assert found.seeds_low is not None and found.seeds_low < 0
    assert found.beyond_noise is False
    assert "another seed may undo: pairwise_accuracy +0.250" in noise_lines(noise)[1]


def test_a_change_that_is_sure_over_seeds_and_not_over_prompts(tmp_path: Path) -> None:
    """One prompt of 40 more in each training: no spread at all, but other prompts might show no gain."""
    found = figure(noise := compared(tmp_path, 21, 20, 21, 21))
    assert (found.seeds_low, found.seeds_high) == (pytest.approx(0.025), pytest.approx(0.025))
    assert found.change_low == 0 and found.beyond_noise is False
    assert len(noise_lines(noise)) == 1  # the table is enough: nobody takes it for a gain


def test_a_loss_can_be_beyond_noise_too(tmp_path: Path) -> None:
    assert figure(compared(tmp_path, 10, 30, 10, 11)).beyond_noise is True


def test_a_figure_that_a_training_lacks_is_missing_and_not_zero(tmp_path: Path) -> None:
    """One of two other trainings was not measured: two values are left, and the table says so."""
    unmeasured = GatedModel(make_model(tmp_path, "seed 2"), [])
    models = [gated(tmp_path, "own", 30), gated(tmp_path, "before", 20), gated(tmp_path, "seed 1", 32)]
    made = compare_trainings(str(tmp_path), policy("x"), *models[:2], [models[2], unmeasured])
    found = figure(noise := join(str(tmp_path), made.stage, made.key))
    assert found.trainings == [0.75, 0.8, None]
    assert found.mean == pytest.approx(0.775)
    (row,) = noise_table(noise).rows
    assert row[0] == METRIC and row[3] == "2 of 3"


def test_too_few_prompts_prove_nothing(tmp_path: Path) -> None:
    models = [gated(tmp_path, "own", 30), gated(tmp_path, "before", 20)]
    strict = policy("x").model_copy(update={"min_items": 41})
    made = compare_trainings(str(tmp_path), strict, *models, [gated(tmp_path, "seed 1", 30)])
    noise = join(str(tmp_path), made.stage, made.key)
    assert figure(noise).beyond_noise is None
    assert noise_table(noise).rows[0][-1] == "-"


def test_where_the_seed_reaches_nothing_the_report_says_so(tmp_path: Path) -> None:
    """The same weights with every seed: no spread was measured, as nothing was drawn."""
    own = gated(tmp_path, "own", 30)
    made = compare_trainings(str(tmp_path), policy("x"), own, gated(tmp_path, "before", 20), [own, own])
    noise = join(str(tmp_path), made.stage, made.key)
    assert "made one and the same model: the seed reaches nothing" in noise_markdown(noise)


def test_the_report_is_a_table_of_a_pull_request(tmp_path: Path) -> None:
    heading, *lines = noise_markdown(compared(tmp_path, 30, 20, 28, 32)).strip().splitlines()
    assert heading == "## Training noise"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 3 and len({line.count("|") for line in table}) == 1
    assert "| 3 of 3 | 0.750 | 0.050 | 0.700 to 0.800 | +0.250 |" in table[2]
