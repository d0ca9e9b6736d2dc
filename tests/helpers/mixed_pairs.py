"""Pairs whose held-out part DPO first does better and then worse on, whatever the model."""

from __future__ import annotations

from components.core.records import Pair
from components.training.dpo.dpo import split_held_out
from components.training.dpo.settings import DpoSettings

TRAINED, HELD_OUT, REVERSED = 12, 8, 2


def mixed_pairs() -> list[Pair]:
    """12 to train on that prefer one answer to another, and 8 held out, of which 2 prefer the other.

    Prompts hardly differ, so all margins grow as one m, and the mean loss on the held-out pairs is
    3/4 log(1 + exp(-m)) + 1/4 log(1 + exp(m)): it falls from ln 2 until m = ln 3, and rises from there on.
    """
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    pairs = [
        Pair(id=str(n), prompt=f"add {n % 10}", chosen="yes", rejected="no", **scores)
        for n in range(TRAINED + HELD_OUT)
    ]
    _, held_out = split_held_out(pairs, DpoSettings(held_out=0.25, min_held_out=HELD_OUT))
    other = {pair.id for pair in held_out[:REVERSED]}
    return [pair.model_copy(update={"chosen": "no", "rejected": "yes"}) if pair.id in other else pair for pair in pairs]
