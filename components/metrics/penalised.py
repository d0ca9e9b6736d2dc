"""Logistic regressions of few terms with an L1 penalty, many at once: what a bootstrap of the penalty's strength needs.

liblinear, whose figure AlpacaEval publishes, takes half a second for the cross-validation of one resample; this takes
less than a thousandth where there are a thousand, and chooses the same strength but for near ties.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST_STEPS, TOLERANCE = 30, 1e-3  # Newton's; a coefficient that moves less does not change which strength is chosen
SWEEPS = 30


def fit_path(features: Array, won: Array, weights: Array, strengths: Array) -> Array:
    """Coefficients [strengths, samples, fits, terms] of the rows [samples, rows, terms], weighted by `weights`.

    `weights` and `won`, from 0 to 1, are [samples, fits, rows]. Each fit minimises the sum of the absolute coefficients
    and strength x its negative log likelihood, from the coefficients of the strength before (proximal Newton steps,
    until no fit of the sample moves).
    """
    samples, rows, terms = features.shape
    products = (features[..., :, None] * features[..., None, :]).reshape(samples, rows, terms * terms)
    coefficients, path = np.zeros((*won.shape[:2], terms)), []
    for strength in strengths:
        moving = np.arange(samples)
        for _ in range(MOST_STEPS):
            known, weight, now = features[moving], weights[moving], coefficients[moving]
            chances = 1 / (1 + np.exp(-np.clip(now @ known.transpose(0, 2, 1), -500, 500)))
            gradient = strength * ((weight * (chances - won[moving])) @ known)
            curvature = strength * ((weight * chances * (1 - chances)) @ products[moving])
            step = _steps(now.reshape(-1, terms), gradient.reshape(-1, terms), curvature.reshape(-1, terms, terms))
            step = step.reshape(now.shape)
            coefficients[moving] = now + np.clip(step, -1, 1)  # a long step leaves where the quadratic form holds
            moving = moving[np.abs(step).max(axis=(1, 2)) >= TOLERANCE]
            if not len(moving):
                break
        path.append(coefficients.copy())
    return np.array(path)


def _steps(coefficients: Array, gradient: Array, curvature: Array) -> Array:
    """The step of each fit [fits, terms] to the minimum of its quadratic form and the penalty, by coordinate descent.

    A fit that no longer moves is left alone, so that its step is the same whatever the others are.
    """
    steps, going = np.zeros_like(coefficients), np.arange(len(coefficients))
    for _ in range(SWEEPS):
        step, moved = steps[going], np.zeros(len(going))
        for term in range(steps.shape[1]):
            row, start = curvature[going, term], coefficients[going, term]
            curve = np.maximum(row[:, term], 1e-9)
            aim = start + step[:, term] - (gradient[going, term] + (row * step).sum(axis=1)) / curve
            new = np.maximum(np.abs(aim) - 1 / curve, 0) * np.where(aim > 0, 1, -1) - start
            moved, step[:, term] = np.maximum(moved, np.abs(new - step[:, term])), new
        steps[going] = step
        going = going[moved >= TOLERANCE / 10]
        if not len(going):
            break
    return steps
