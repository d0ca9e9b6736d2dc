"""DPO's loss and its relatives, as TRL's trainer is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from components.core.records import Pair
from components.training.dpo.settings import DpoSettings

# TRL's sigmoid loss A = -log s(m) takes no smoothing. Its robust loss at the rate r is ((1 - r) A - r B) / (1 - 2 r),
# with B = -log s(-m), so that (1 + 2 e) A - 2 e robust(1/4) is (1 - e) A + e B: conservative DPO at the rate e.
QUARTER = 0.25


def loss_arguments(settings: DpoSettings, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Of DPOConfig: which losses are added up with which weights.

    Pairs that come with a doubt (CREAM) are smoothed by its mean: TRL knows one rate for all pairs, as CREAM does.
    """
    doubts = [pair.doubt for pair in pairs if pair.doubt is not None]
    rate = fmean(doubts) if doubts else settings.label_smoothing
    arguments: dict[str, Any] = {"loss_type": ["sigmoid"]}
    if settings.loss == "robust":
        arguments = {"loss_type": ["robust"], "label_smoothing": rate}
    elif rate:
        weights = [1 + 2 * rate, -2 * rate]
        arguments = {"loss_type": ["sigmoid", "robust"], "loss_weights": weights, "label_smoothing": QUARTER}
    if settings.nll_weight:
        weights = arguments.get("loss_weights", [1.0])
        arguments["loss_type"] = [*arguments["loss_type"], "sft"]
        arguments["loss_weights"] = [*weights, settings.nll_weight]
    return arguments
