"""Logistic regressions of few terms with an L1 penalty, many at once: what a bootstrap of the penalty's strength needs.

liblinear, whose figure AlpacaEval publishes, takes half a second for the cross-validation of one resample; this takes a
hundredth, and chooses the same strength but for near ties.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST_STEPS, TOLERANCE = 30, 1e-3  # Newton's; a coefficient that moves less does not change which strength is chosen
SWEEPS = 30


def fit_path(features: Array, won: Array, weights: Array, strengths: Array) -> Array:
    """Coefficients [strengths, fits, terms] of the rows [rows, terms], weighted by `weights` [fits, rows].

    `won` [fits, rows] from 0 to 1. Each fit minimises the sum of the absolute coefficients and strength x its negative
    log likelihood, from the coefficients of the strength before (proximal Newton steps).
    """
    terms = features.shape[1]
    products = (features[:, :, None] * features[:, None, :]).reshape(len(features), terms * terms)
    coefficients, path = np.zeros((len(weights), terms)), []
    for strength in strengths:
        for _ in range(MOST_STEPS):
            chances = 1 / (1 + np.exp(-np.clip(coefficients @ features.T, -500, 500)))
            gradient = strength * ((weights * (chances - won)) @ features)
            curvature = strength * ((weights * chances * (1 - chances)) @ products).reshape(-1, terms, terms)
            step = np.array([_step(*one) for one in zip(coefficients, gradient, curvature, strict=True)])
            coefficients = coefficients + np.clip(step, -1, 1)  # a long step leaves where the quadratic form holds
            if np.abs(step).max() < TOLERANCE:
                break
        path.append(coefficients)
    return np.array(path)


def _step(coefficients: Array, gradient: Array, curvature: Array) -> list[float]:
    """The step to the minimum of the quadratic form and the penalty, by coordinate descent (few terms: in Python)."""
    now, slope, bent = coefficients.tolist(), gradient.tolist(), curvature.tolist()
    step = [0.0] * len(now)
    for _ in range(SWEEPS):
        moved = 0.0
        for j, row in enumerate(bent):
            curve = max(row[j], 1e-9)
            aim = now[j] + step[j] - (slope[j] + sum(map(float.__mul__, row, step))) / curve
            new = max(abs(aim) - 1 / curve, 0.0) * (1 if aim > 0 else -1) - now[j]
            moved, step[j] = max(moved, abs(new - step[j])), new
        if moved < TOLERANCE / 10:
            break
    return step
