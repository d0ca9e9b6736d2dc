"""The length-controlled win rate: what it must do, and the figures of alpaca_eval itself."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.typing import NDArray

from components.core.records import Annotation, Candidate, Instruction
from components.evaluation.alpaca_eval.annotation import length_control
from components.metrics.bootstrap import Resampling, interval
from components.metrics.length_control import (
    are_hard,
    length_controlled_win_rate,
    refit_win_rate,
)
from components.metrics.statistics import METRICS

Array = NDArray[np.float64]
POINT = 0.01


def logistic(logits: Array) -> Array:
    return 1 / (1 + np.exp(-logits))


@dataclass(frozen=True)
class Data:
    """Annotations as they are drawn, so that their cause is known."""

    preferences: Array
    model: Array
    reference: Array
    difficulty: Array

    @property
    def measured(self) -> tuple[Array, Array, Array]:
        return self.preferences, self.model, self.reference

    @property
    def items(self) -> int:
        return len(self.preferences)


def draw(
    seed: int,
    *,
    better: float = 0.0,
    longer: float = 0.0,
    length: float = 1.0,
    difficulty: float = 0.0,
    noise: float = 1.0,
    hard: bool = False,
    items: int = 805,
) -> Data:
    """Preferences by better + length x tanh(standardised length) + difficulty x its normal draw + noise, as logits.

    `longer` is the logarithm of the model's length over the reference's; `hard` draws 0 or 1.
    """
    rng = np.random.default_rng(seed)
    reference = np.floor(rng.lognormal(6, 0.6, items)) + 1
    model = np.floor(reference * np.exp(rng.normal(longer, 0.5, items))) + 1
    hardness = rng.normal(size=items)
    more = model - reference
    logits = better + length * np.tanh(more / more.std(ddof=1)) + difficulty * hardness + rng.normal(0, noise, items)
    wins = logistic(logits)
    return Data((rng.random(items) < wins).astype(float) if hard else wins, model, reference, hardness)


def gamed(data: Data) -> Array:
    """Rows of two baselines told to be brief and to be verbose: preference, standardised length, difficulty."""
    rng = np.random.default_rng(99)
    lengths = np.concatenate([sign * abs(rng.normal(1, 0.7, data.items)) for sign in (-1, 1)])
    wins = logistic(-1.2 * np.tanh(lengths) + rng.normal(size=2 * data.items))
    return np.stack([wins, lengths, np.tile(data.difficulty, 2)], axis=1)


# --- what it must do


def test_balanced_lengths_leave_the_win_rate_as_it_is() -> None:
    """Each preference stands once with a longer and once with a shorter output, so the length explains nothing: its
    coefficient is 0. The penalty |b| / C then moves the mean prediction p of the n rows from the mean y of the
    preferences to where n C (p - y) + sign(b) = 0: p = y - 1 / (n C) for a model that wins more often than not."""
    rng = np.random.default_rng(0)
    wins, more = np.tile(rng.uniform(0.4, 1, 200), 2), np.repeat([300.0, -300.0], 200)
    fitted = length_controlled_win_rate(wins, 1000 + more, np.full(400, 1000.0))
    assert fitted
    assert fitted.coefficients["length"] == pytest.approx(0, abs=1e-6)
    assert fitted.win_rate == pytest.approx(wins.mean() - 1 / (400 * fitted.regularisation), abs=1e-4)
    assert fitted.win_rate == pytest.approx(wins.mean(), abs=0.2 * POINT)


def test_a_model_that_wins_by_its_length_alone_is_no_better() -> None:
    """The logits are 2 tanh(standardised length): at equal length they are 0, a win rate of 50 %."""
    data = draw(1, length=2, longer=0.5, noise=0)
    fitted = length_controlled_win_rate(*data.measured)
    assert fitted
    assert data.preferences.mean() > 0.6
    assert fitted.win_rate == pytest.approx(0.5, abs=0.5 * POINT)
    assert fitted.coefficients["length"] == pytest.approx(2, abs=0.05)


def test_known_coefficients_are_found() -> None:
    """Logits without noise follow the regression exactly, so a weak penalty gives back what made them."""
    data = draw(2, better=-0.5, length=1.5, difficulty=0.7, noise=0)
    fitted = length_controlled_win_rate(*data.measured, data.difficulty)
    assert fitted
    assert fitted.coefficients == pytest.approx({"length": 1.5, "difficulty": 0.7, "model": -0.5}, abs=0.02)
    at_equal_length = logistic(-0.5 + 0.7 * data.difficulty)
    assert fitted.win_rate == pytest.approx(at_equal_length.mean(), abs=0.2 * POINT)
    assert fitted.standard_error == pytest.approx(at_equal_length.std(ddof=1) / math.sqrt(805), rel=0.02)


def test_without_a_difficulty_there_is_no_standard_error() -> None:
    """All predictions are the same number; its spread of 0 would look like certainty."""
    fitted = length_controlled_win_rate(*draw(3).measured)
    assert fitted
    assert fitted.standard_error is None
    assert set(fitted.coefficients) == {"length", "model"}


def test_swapping_model_and_reference_turns_the_win_rate_into_its_complement() -> None:
    """The reference against the model: all logits change their sign, and so does the length; w becomes 1 - w."""
    data = draw(4, better=-0.4, longer=0.3, hard=True)
    one = length_controlled_win_rate(*data.measured)
    other = length_controlled_win_rate(1 - data.preferences, data.reference, data.model)
    assert one and other
    assert other.win_rate == pytest.approx(1 - one.win_rate, abs=0.1 * POINT)
    assert other.coefficients["length"] == pytest.approx(one.coefficients["length"], abs=0.01)


def test_a_better_model_has_a_higher_win_rate() -> None:
    better = [length_controlled_win_rate(*draw(5, better=by, longer=0.2).measured) for by in (-2, -1, 0, 1, 2)]
    rates = [one.win_rate for one in better if one]
    assert rates == sorted(rates)
    assert len(rates) == 5 and rates[-1] - rates[0] > 0.5


@pytest.mark.parametrize("wins", [0.0, 1.0])
def test_undefined_without_a_win_or_without_a_loss(wins: float) -> None:
    """alpaca_eval gives 50 % to a model that loses every time: liblinear has one class only and fits nothing."""
    data = draw(6)
    assert length_controlled_win_rate(np.full(805, wins), data.model, data.reference) is None
    assert math.isnan(refit_win_rate(np.full(805, wins), data.model, data.reference, None, 1.0))


def test_undefined_where_lengths_do_not_vary_or_items_are_few() -> None:
    """Five folds need five items; a difference that is the same everywhere has no standard deviation to divide by."""
    data = draw(7)
    assert length_controlled_win_rate(data.preferences, data.reference + 10, data.reference) is None
    assert math.isnan(refit_win_rate(data.preferences, data.reference + 10, data.reference, None, 1.0))
    assert length_controlled_win_rate(*(column[:4] for column in data.measured)) is None
    assert length_controlled_win_rate(*(column[:5] for column in data.measured))
    assert length_controlled_win_rate([], [], []) is None


# --- resamples


@pytest.mark.parametrize("form", ["minimal", "noreg", "v1"])
def test_a_refit_gives_the_same_figure_in_any_order(form: str) -> None:
    data = draw(8, better=-1, longer=0.3, difficulty=0.5)
    difficulty = None if form == "minimal" else data.difficulty
    others = gamed(data) if form == "v1" else None
    fitted = length_controlled_win_rate(*data.measured, difficulty, others)
    assert fitted
    again = refit_win_rate(*data.measured, difficulty, fitted.regularisation, others)
    assert again == fitted.win_rate
    order = np.random.default_rng(0).permutation(data.items)
    columns = [column[order] for column in data.measured]
    shuffled = refit_win_rate(
        columns[0],
        columns[1],
        columns[2],
        difficulty if difficulty is None else difficulty[order],
        fitted.regularisation,
        others,
    )
    assert shuffled == pytest.approx(again, abs=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_the_stage_reports_the_same_figure_with_an_interval(known: bool) -> None:
    """The annotation stage keeps what the figure is made of, and the bootstrap fits it anew: 120 instructions, one of
    them without a valid annotation."""
    data = draw(9, better=-0.5, longer=0.3, difficulty=0.5, items=120)
    instructions = [
        Instruction(id=str(i), text=f"q{i}", dataset="", reference="r" * int(n), generator="g")
        .model_copy(update={"difficulty": float(data.difficulty[i]) if known else None})
        for i, n in enumerate(data.reference)
    ]  # fmt: skip
    outputs = {
        str(i): Candidate(
            id=str(i), prompt_id=str(i), prompt="q", text="m" * int(n), finish_reason="stop", seed=0, tokens=1
        )
        for i, n in enumerate(data.model)
    }
    annotations = [
        Annotation(
            id=str(i), preference=p if i else None, form="weighted", switched=False, completion="m", seed=0, tokens=1
        )
        for i, p in enumerate(data.preferences)
    ]
    controlled = length_control(instructions, outputs, annotations)
    preferred = np.where(np.arange(120) == 0, np.nan, data.preferences)
    fitted = length_controlled_win_rate(preferred, data.model, data.reference, data.difficulty if known else None)
    assert controlled and fitted
    estimate = interval(METRICS["lc_win_rate"], controlled.observed, Resampling(resamples=40))
    assert estimate.items == 119
    assert estimate.value == pytest.approx(fitted.win_rate, abs=1e-6)
    assert estimate.low and estimate.high and estimate.low < fitted.win_rate < estimate.high
    assert controlled.metrics["lc_length"] == fitted.coefficients["length"]
    assert controlled.metrics.get("lc_win_rate_standard_error") == fitted.standard_error


# --- alpaca_eval's own figures


@pytest.fixture
def alpaca_eval() -> Iterator[ModuleType]:
    """alpaca_eval's regressions; it changes scikit-learn's settings, which are put back."""
    from alpaca_eval.metrics import glm_winrate

    with sklearn.config_context():
        yield glm_winrate


def alpaca_eval_figures(module: ModuleType, form: str, data: Data, others: Array, folder: Path) -> dict[str, float]:
    """What alpaca_eval computes from outputs of these lengths; `others` stand in for its df_gamed.csv from the hub."""
    annotations = pd.DataFrame(
        {
            "index": range(data.items),
            "preference": 1 + data.preferences,
            "output_1": ["r" * int(n) for n in data.reference],
            "output_2": ["m" * int(n) for n in data.model],
            "generator_1": "reference",
            "generator_2": "model",
        }
    )
    columns = ["preference", "std_delta_len", "instruction_difficulty"]
    table = pd.DataFrame(others, columns=columns).assign(model="gamed", not_gamed_baseline=False)
    table["index"] = np.tile(range(data.items), 2)
    table.to_csv(folder / "df_gamed.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "hf_hub_download", lambda **_: folder / "df_gamed.csv")
        figures: dict[str, float] = module.get_length_controlled_winrate(
            annotations, glm_name=f"length_controlled_{form}", save_weights_dir=None
        )
    return figures


DRAWN = {
    "even": draw(11),
    "weak": draw(12, better=-3, longer=0.3),
    "weak and hard to tell": draw(13, better=-4, longer=0.5, difficulty=1, hard=True),
    "strong and short": draw(14, better=2, longer=-0.2, hard=True),
    "long": draw(15, length=3, longer=0.6, hard=True),
    "by difficulty": draw(16, better=-0.5, difficulty=0.7),
    "by chance": draw(17, better=0.1, length=0.05, difficulty=0.05, hard=True),
    "few": draw(18, better=-1, hard=True, items=60),
}


@pytest.mark.parametrize("form", ["minimal", "noreg", "v1"])
@pytest.mark.parametrize("name", DRAWN)
def test_agrees_with_alpaca_eval(alpaca_eval: ModuleType, form: str, name: str, tmp_path: Path) -> None:
    """To rounding, in percentage points; the table of gamed baselines is made up."""
    data = DRAWN[name]
    theirs = alpaca_eval_figures(alpaca_eval, form, data, gamed(data), tmp_path)
    difficulty, others = None if form == "minimal" else data.difficulty, gamed(data) if form == "v1" else None
    ours = length_controlled_win_rate(*data.measured, difficulty, others)
    assert ours
    assert 100 * ours.win_rate == pytest.approx(theirs["length_controlled_winrate"], abs=1e-4)
    assert 100 * (ours.standard_error or 0.0) == pytest.approx(theirs["lc_standard_error"], abs=1e-4)


@pytest.mark.parametrize("form", ["minimal", "noreg", "v1"])
@pytest.mark.parametrize("unparsed", [0.02, 0.3, 0.8])
@pytest.mark.parametrize("hard", [True, False])
def test_unparsed_annotations_count_as_in_alpaca_eval(
    alpaca_eval: ModuleType, form: str, unparsed: float, hard: bool, tmp_path: Path
) -> None:
    """Lengths, difficulties and gamed rows of all instructions count, the preferences of those that have one; left out
    beforehand, the figure is another one, the more so the more the unparsed ones are of a kind: here the longest."""
    data = draw(19, better=-1, longer=0.3, difficulty=0.5, length=1.5, hard=hard)
    kind = np.argsort(np.argsort(-data.model + 500 * np.random.default_rng(0).normal(size=data.items)))
    answered = kind >= unparsed * data.items
    gaps = Data(np.where(answered, data.preferences, np.nan), data.model, data.reference, data.difficulty)
    theirs = alpaca_eval_figures(alpaca_eval, form, gaps, gamed(data), tmp_path)
    difficulty, others = None if form == "minimal" else data.difficulty, gamed(data) if form == "v1" else None
    ours = length_controlled_win_rate(*gaps.measured, difficulty, others)
    assert ours
    assert 100 * ours.win_rate == pytest.approx(theirs["length_controlled_winrate"], abs=1e-4)
    assert 100 * (ours.standard_error or 0.0) == pytest.approx(theirs["lc_standard_error"], abs=1e-4)


# --- the penalty, and what liblinear says


def by_the_book(data: Data, how: Resampling) -> tuple[float, float]:
    """The percentile bootstrap of the whole estimator: each resample is a set of its own, with liblinear's choice."""
    draws = np.random.default_rng(how.seed)
    resamples = [draws.integers(data.items, size=data.items) for _ in range(how.resamples)]
    fitted = [length_controlled_win_rate(*(column[drawn] for column in data.measured)) for drawn in resamples]
    low, high = np.quantile([one.win_rate for one in fitted if one], [0.025, 0.975])
    return float(low), float(high)


def test_hard_preferences_choose_their_penalty_anew_in_each_resample() -> None:
    """As wide as the bootstrap that fits everything anew, to a tenth of a point; with the first penalty it is not."""
    data = draw(26, better=-0.6, longer=0.2, hard=True, items=60)
    fitted = length_controlled_win_rate(*data.measured)
    assert fitted
    how = Resampling(resamples=60)
    observed = {
        f"{n:03}": (*map(float, values), fitted.regularisation)
        for n, values in enumerate(zip(*data.measured, strict=True))
    }
    estimate = interval(METRICS["lc_win_rate"], observed, how)
    assert estimate.value == pytest.approx(fitted.win_rate, abs=1e-6)
    assert (estimate.low, estimate.high) == pytest.approx(by_the_book(data, how), abs=0.1 * POINT)
    fixed = interval(replace(METRICS["lc_win_rate"], resampled=None), observed, how)
    assert fixed.low and fixed.high and estimate.low and estimate.high
    assert fixed.high - fixed.low < estimate.high - estimate.low - 0.5 * POINT


@pytest.mark.parametrize("form", ["minimal", "noreg", "v1"])
@pytest.mark.parametrize("name", DRAWN)
def test_the_quick_choice_of_the_penalty_is_as_good_as_liblinears(form: str, name: str) -> None:
    """Near ties may fall otherwise; the figure is the same to a tenth of a point."""
    data = DRAWN[name]
    difficulty, others = None if form == "minimal" else data.difficulty, gamed(data) if form == "v1" else None
    slow = length_controlled_win_rate(*data.measured, difficulty, others)
    assert slow
    assert refit_win_rate(*data.measured, difficulty, None, others) == pytest.approx(slow.win_rate, abs=0.1 * POINT)


@pytest.mark.parametrize("form", ["minimal", "noreg", "v1"])
def test_resamples_that_are_fitted_at_once_have_the_figures_of_each_alone(form: str) -> None:
    """To the last bit: [2, 6, items, values] in one call against twelve calls, some without an annotation or a win."""
    data = draw(31, items=14, hard=True)
    data.preferences[[2, 9]] = math.nan
    others = np.random.default_rng(7).normal(size=(14, 2))
    columns = [*data.measured, np.full(14, 0.3)]
    columns += [] if form == "minimal" else [data.difficulty]
    columns += [abs(others[:, 0]) % 1, others[:, 1]] if form == "v1" else []
    stacked = np.stack(columns, axis=1)[np.random.default_rng(8).integers(14, size=(2, 6, 14))]
    stacked[1, 5, :, 0] = 0.0
    resampled = METRICS["lc_win_rate"].resampled
    assert resampled
    together, alone = resampled(stacked), [[float(resampled(one)) for one in row] for row in stacked]
    assert together.tolist()[0] == alone[0]
    assert together.tolist()[1][:-1] == alone[1][:-1]
    assert np.isnan(together).sum() == int(form != "v1") and not np.isnan(together[0]).any()


def test_preferences_are_hard_where_none_lies_between() -> None:
    assert are_hard([0, 1, 0.5, math.nan])
    assert not are_hard([0, 1, 0.9])


def test_liblinears_warnings_do_not_reach_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """One win of twenty: the fold that holds it out leaves losses alone, of which liblinear writes lines, from C."""
    data = draw(21, items=20)
    one_win = (np.arange(20) == 3).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = length_controlled_win_rate(one_win, data.model, data.reference, data.difficulty)
        refit_win_rate(one_win, data.model, data.reference, None, None)
        # lengths that hardly vary: liblinear runs out of iterations
        coins, lengths = np.random.default_rng(0).integers(2, size=20).astype(float), np.full(20, 14.0)
        assert length_controlled_win_rate(coins, lengths, 11.0 + (np.arange(20) >= 10))
    assert fitted
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wins", [True, False])
@pytest.mark.parametrize("form", ["minimal", "noreg"])
def test_a_fold_of_one_side_is_fitted_as_alpaca_eval_does(
    alpaca_eval: ModuleType, form: str, wins: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One win, or one loss, of twenty."""
    data = draw(21, items=20)
    data = Data(((np.arange(20) == 3) == wins).astype(float), data.model, data.reference, data.difficulty)
    theirs = alpaca_eval_figures(alpaca_eval, form, data, gamed(data), tmp_path)
    assert "class label" in capfd.readouterr().err
    ours = length_controlled_win_rate(*data.measured, None if form == "minimal" else data.difficulty)
    assert ours
    assert 100 * ours.win_rate == pytest.approx(theirs["length_controlled_winrate"], abs=1e-4)
