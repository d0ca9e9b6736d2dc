"""M1's SFT mixes IFT and EFT: how often each example is trained on, and what was used is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.records import Counts, Example, Parent
from components.core.settings import Settings
from components.core.stage import Stage
from components.training.sft.settings import SftSettings
from components.training.sft.sft import repeats, sft_stage, training_rows
from tests.helpers.tiny_model import make_tiny_tokenizer

EXAMPLES = [
    *(Example(id=f"i{n}", kind="ift", prompt=f"add {n}", completion=f"it is {n + 1}") for n in range(4)),
    *(Example(id=f"e{n}", kind="eft", prompt=f"judge {n}", completion="Score: 3") for n in range(8)),
]


def mixed(weight: float, seed: int = 0, examples: list[Example] = EXAMPLES) -> tuple[Counter[str], Counts]:
    """How often each prompt is among the rows, and the counts."""
    settings = SftSettings(max_length=96, eft_weight=weight, seed=seed)
    rows, counts = training_rows(examples, make_tiny_tokenizer(), settings)
    return Counter(row["prompt"][-1]["content"] for row in rows), counts


def test_by_default_each_example_is_trained_on_once() -> None:
    """As the paper mixes them."""
    rows, counts = mixed(1.0)
    assert set(rows.values()) == {1} and len(rows) == 12
    assert counts == Counts(kept={"ift": 4, "eft": 8})


@pytest.mark.parametrize(
    ("weight", "times", "kept", "dropped"),
    [
        (3.0, {3: 8}, {"ift": 4, "eft": 8, "eft, again": 16}, {}),
        (1.25, {1: 6, 2: 2}, {"ift": 4, "eft": 8, "eft, again": 2}, {}),
        (0.5, {1: 4}, {"ift": 4, "eft": 4}, {"eft: left out by eft_weight": 4}),
    ],
)
def test_eft_is_repeated_or_thinned_out(
    weight: float, times: dict[int, int], kept: dict[str, int], dropped: dict[str, int]
) -> None:
    rows, counts = mixed(weight)
    assert Counter(number for prompt, number in rows.items() if "judge" in prompt) == times
    assert all(number == 1 for prompt, number in rows.items() if "add" in prompt)
    assert counts == Counts(kept=kept, dropped=dropped)


def test_what_cannot_be_trained_on_has_no_weight() -> None:
    """Seven of eight are short enough: twice as many rows, and one dropped example."""
    long = Example(id="long", kind="eft", prompt="judge", completion="x" * 200)
    rows, counts = mixed(2.0, examples=[*EXAMPLES[:11], long])
    assert rows.total() == 4 + 2 * 7
    assert counts == Counts(kept={"ift": 4, "eft": 7, "eft, again": 7}, dropped={"eft: longer than max_length": 1})


@given(st.integers(1, 40), st.floats(0.05, 4), st.integers(0, 3))
def test_the_draw_is_a_matter_of_seed_and_ids(number: int, weight: float, seed: int) -> None:
    """`weight` times as many rows to the nearest whole one, none oftener than one more than another."""
    examples = [EXAMPLES[4].model_copy(update={"id": str(n)}) for n in range(number)]
    times = repeats(examples, weight, seed)
    assert sum(times.values()) == round(number * weight)
    assert max(times.values()) - min(times.values()) <= 1
    assert repeats(examples[::-1], weight, seed) == times


def test_another_seed_draws_others() -> None:
    assert mixed(0.5)[0] == mixed(0.5)[0] != mixed(0.5, seed=1)[0]


def test_the_weight_is_no_matter_of_the_baseline(tmp_path: Path) -> None:
    """It sees no EFT: a run that only mixes otherwise finds it made."""
    uris = {}
    for name in ("base_model", "seed_data", "eft"):
        stage = Stage(str(tmp_path), name, Settings(), {"toy": Parent(uri="toy", digest="toy")})
        stage.publish(Counts())
        uris[name] = stage.uri
    base, seeds, eft = uris.values()
    once, twice = SftSettings(), SftSettings(eft_weight=2)
    assert sft_stage(str(tmp_path), once, base, seeds).key == sft_stage(str(tmp_path), twice, base, seeds).key
    assert sft_stage(str(tmp_path), once, base, seeds, eft).key != sft_stage(str(tmp_path), twice, base, seeds, eft).key
