"""The length-controlled win rate of AlpacaEval 2 (Dubois et al. 2404.04475), without its files on the hub.

A logistic regression explains each preference by the difference in length, by the instruction's difficulty where it is
known, and by the model itself. The win rate at equal length is the mean prediction with the length term at zero. It is
the estimator of alpaca_eval 0.6.6 (metrics/glm_winrate.py): an L1 penalty whose strength five-fold cross-validation
chooses, and liblinear as the solver, whose tolerance decides between strengths that are nearly as good.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.metrics.penalised import fit_path

Array = NDArray[np.float64]
FOLDS = 5
GRID = np.logspace(-4, 4, 10)  # inverse strengths of the penalty; scikit-learn's own grid
# The annotations of baselines that were told to be brief or verbose count 0.2 together (lambda); there are two of them.
GAMED_WEIGHT = 0.2 / 2
SEED = 123  # liblinear draws the order of the terms; alpaca_eval's seed


@dataclass(frozen=True)
class Fitted:
    """`win_rate` and `standard_error` are shares, `regularisation` is scikit-learn's C.

    `standard_error` is AlpacaEval's: that of the mean over the instructions' predictions. Without a difficulty all
    predictions are the same, so it says nothing and is None. Terms of `coefficients`: "length" (above 0: a longer
    output wins; AlpacaEval counts the other way round), "difficulty" and "model".
    """

    win_rate: float
    standard_error: float | None
    regularisation: float
    coefficients: dict[str, float]


@dataclass(frozen=True)
class Regression:
    """What is fitted: [rows, terms], the preference and the weight of each row; and where to predict.

    `annotated` of the instructions have a preference, and are rows. The features and the predictions are those of all.
    """

    terms: tuple[str, ...]
    features: Array
    preferences: Array
    weights: Array
    at_equal_length: Array  # [instructions, terms]
    annotated: int

    def fit(
        self,
        regularisation: float,
        rows: NDArray[np.intp] | slice = slice(None),
        draws: int | np.random.RandomState = SEED,
    ) -> Array:
        """Coefficients [terms]. A preference p is two rows: a win of weight p and a loss of weight 1 - p.

        Rows of one side alone, wins or losses, are all wins to liblinear, and so to AlpacaEval, where a fold of the
        cross-validation has no other; it also writes a line past Python to the terminal, unless a row of zeros, which
        has no influence, stands for the other side. Where it runs out of iterations, AlpacaEval's figure is what it has
        come to, and so is ours: the warning, one a fit, would fill the terminal.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        features, won, weights = self.features[rows], self.preferences[rows], self.weights[rows]
        if one_sided(won):
            features, won = np.vstack([features, np.zeros(len(self.terms))]), np.append(np.ones(len(won)), 0)
            weights = np.append(weights, 1)
        model = LogisticRegression(
            C=regularisation, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=draws
        )
        outcomes = np.repeat([1, 0], len(won))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(np.tile(features, (2, 1)), outcomes, np.concatenate([won * weights, (1 - won) * weights]))
        return np.asarray(model.coef_[0], dtype=np.float64)

    def log_likelihood(self, coefficients: Array, rows: NDArray[np.intp]) -> float:
        """The mean over the rows, at these coefficients [terms]."""
        logits = self.features[rows] @ coefficients
        each = self.preferences[rows] * logits - np.logaddexp(0, logits)
        return float((self.weights[rows] * each).mean())

    def chosen_regularisation(self) -> float:
        """The C that predicts held-out rows best; the smallest of equals."""
        likelihoods = []  # [folds, grid]
        for kept, held in _folds(len(self.features)):
            draws = np.random.RandomState(SEED)  # goes on from one C to the next, as in LogisticRegressionCV
            likelihoods.append([self.log_likelihood(self.fit(c, kept, draws), held) for c in GRID])
        return float(GRID[int(np.argmax(np.mean(likelihoods, axis=0)))])

    def predictions(self, coefficients: Array) -> Array:
        """Preferences [instructions] at equal length."""
        return np.exp(-np.logaddexp(0, -self.at_equal_length @ coefficients))


def length_controlled_win_rate(
    preferences: ArrayLike,
    model_lengths: ArrayLike,
    reference_lengths: ArrayLike,
    difficulty: ArrayLike | None = None,
    gamed: ArrayLike | None = None,
) -> Fitted | None:
    """The win rate at equal length; one value an instruction, preferences from 0 to 1, lengths in characters.

    An instruction without a valid annotation has the preference nan: as in AlpacaEval its length, its difficulty and
    its gamed rows count and it is predicted, but nothing is fitted to it.

    None where it is undefined: too few annotations for the cross-validation, or no variation in the length.
    Without a difficulty it is AlpacaEval's form length_controlled_minimal, with one length_controlled_noreg. With
    `gamed` too (df_gamed.csv: [rows, (preference, standardised length, difficulty)]) it is length_controlled_v1.
    """
    rows = regression(preferences, model_lengths, reference_lengths, difficulty, gamed)
    if rows is None or rows.annotated < FOLDS:
        return None
    regularisation = rows.chosen_regularisation()
    coefficients = rows.fit(regularisation)
    predictions = rows.predictions(coefficients)
    error = None if difficulty is None else float(predictions.std(ddof=1)) / math.sqrt(len(predictions))
    named = dict(zip(rows.terms, coefficients.tolist(), strict=True))
    return Fitted(float(predictions.mean()), error, regularisation, named)


def refit_win_rate(
    preferences: ArrayLike,
    model_lengths: ArrayLike,
    reference_lengths: ArrayLike,
    difficulty: ArrayLike | None,
    regularisation: float | None,
    gamed: ArrayLike | None = None,
) -> float:
    """The same figure of a resample, with the C of an earlier fit or, at None, chosen anew; nan if undefined."""
    fitted = regression(preferences, model_lengths, reference_lengths, difficulty, gamed)
    return refit_win_rates([fitted], [regularisation])[0]


def refit_win_rates(regressions: Sequence[Regression | None], chosen: Sequence[float | None]) -> list[float]:
    """One figure a resample, as refit_win_rate's; `chosen` are their C, all of those that are None chosen at once."""
    from sklearn import config_context

    defined = {
        number: one
        for number, (one, c) in enumerate(zip(regressions, chosen, strict=True))
        if one and (c is not None or one.annotated >= FOLDS)
    }
    anew = [number for number in defined if chosen[number] is None]
    strengths = {number: c for number, c in enumerate(chosen) if c is not None}
    strengths |= dict(zip(anew, quickly_chosen([defined[number] for number in anew]), strict=True))
    figures = [math.nan] * len(regressions)
    with config_context(assume_finite=True, skip_parameter_validation=True):  # a quarter of the time of a small fit
        for number, one in defined.items():
            figures[number] = float(one.predictions(one.fit(strengths[number])).mean())
    return figures


def quickly_chosen(regressions: Sequence[Regression]) -> list[float]:
    """The C that `chosen_regularisation` would choose for each but for near ties, without liblinear: for resamples."""
    chosen = np.zeros(len(regressions))
    sizes = np.array([len(one.features) for one in regressions])
    for size in np.unique(sizes):
        alike, folds = np.flatnonzero(sizes == size).tolist(), _folds(int(size))
        features, won, weights = (
            np.stack([getattr(regressions[number], name) for number in alike])
            for name in ("features", "preferences", "weights")
        )
        won_by_fold, weights_by_fold = (np.repeat(one[:, None], FOLDS, axis=1) for one in (won, weights))
        for fold, (kept, held) in enumerate(folds):
            weights_by_fold[:, fold, held] = 0
            sided = ~(won[:, kept] > 0).any(axis=1) | ~(won[:, kept] < 1).any(axis=1)
            won_by_fold[sided, fold] = 1
        path = fit_path(features, won_by_fold, weights_by_fold, GRID)
        likelihoods = []  # [folds, grid, resamples], as `log_likelihood`
        for fold, (_, held) in enumerate(folds):
            logits = (features[:, held] @ path[:, :, fold, :, None])[..., 0]
            each = won[:, held] * logits - np.logaddexp(0, logits)
            likelihoods.append((weights[:, held] * each).mean(axis=-1))
        chosen[alike] = GRID[np.argmax(np.mean(likelihoods, axis=0), axis=0)]
    return [float(one) for one in chosen]


@lru_cache
def _folds(rows: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to fit and rows to predict."""
    from sklearn.model_selection import GroupKFold

    return list(GroupKFold(FOLDS).split(np.zeros((rows, 1)), groups=np.arange(rows)))


def are_hard(preferences: ArrayLike) -> bool:
    """Whether they are wins, losses and draws: then which penalty is chosen depends much on the instructions."""
    known = _array(preferences)
    return bool(np.isin(known[~np.isnan(known)], (0.0, 0.5, 1.0)).all())


def one_sided(preferences: Array) -> bool:
    """Whether there is no win at all, not even a part of one, or no loss."""
    return not (preferences > 0).any() or not (preferences < 1).any()


def regression(
    preferences: ArrayLike,
    model_lengths: ArrayLike,
    reference_lengths: ArrayLike,
    difficulty: ArrayLike | None,
    gamed: ArrayLike | None,
) -> Regression | None:
    """None where there is nothing to regress on: lengths that do not vary, or no win or no loss at all."""
    won, longer = _array(preferences), _array(model_lengths) - _array(reference_lengths)
    known = ~np.isnan(won)
    if known.sum() < 2 or not np.ptp(longer):
        return None
    columns = {"length": np.tanh(longer / longer.std(ddof=1))}
    columns |= {} if difficulty is None else {"difficulty": _array(difficulty)}
    columns |= {"model": np.ones(len(longer))}
    features = np.stack(list(columns.values()), axis=1)
    others, others_won = _baselines(gamed, len(columns))
    preferred = np.concatenate([others_won, won[known]])
    if one_sided(preferred):
        return None  # liblinear answers 50 % for a model that always loses
    return Regression(
        terms=tuple(columns),
        features=np.concatenate([others, features[known]]),
        preferences=preferred,
        weights=np.concatenate([np.full(len(others), GAMED_WEIGHT), np.ones(int(known.sum()))]),
        at_equal_length=features * [term != "length" for term in columns],
        annotated=int(known.sum()),
    )


def gamed_rows(difficulty: ArrayLike, gamed: ArrayLike) -> Array | None:
    """The table `gamed`, baseline by baseline as in df_gamed.csv, from [instructions, baselines, 2]; None if empty."""
    pairs = _array(gamed)
    if not pairs.size:
        return None
    difficulties = np.broadcast_to(_array(difficulty)[:, None, None], (*pairs.shape[:2], 1))
    return np.concatenate([pairs, difficulties], axis=2).transpose(1, 0, 2).reshape(-1, 3)


def _baselines(gamed: ArrayLike | None, terms: int) -> tuple[Array, Array]:
    """Features [rows, terms] and preferences [rows] of a baseline against itself: the term of the model is 0."""
    if gamed is None:
        return np.empty((0, terms)), np.empty(0)
    preferences, shorter, difficulty = _array(gamed).T
    return np.stack([np.tanh(-shorter), difficulty, np.zeros(len(shorter))], axis=1), preferences


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)
