"""Pairs on which judge and implicit reward agree: what is kept of them, and of which models the reward is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.records import Counts, Manifest, Pair, Parent
from components.core.stage import Stage
from components.pairs.settings import PairsSettings
from components.training.dpo.dpo import DpoInputs, dpo_stage, train_dpo
from components.training.dpo.settings import DpoSettings
from components.training.launch.again import request_again
from tests.components.training.test_training import LORA, base, dpo_settings, make_pairs, uri
from tests.helpers.tiny_model import make_tiny_model


def pairs_of(root: str, pairs: list[Pair], name: str) -> str:
    stage = Stage(root, "pairs", PairsSettings(), {"toy": Parent(uri=name, digest=name)})
    stage.publish(Counts(), {"pairs": pairs})
    return stage.uri


def weights(made: Manifest) -> dict[str, str]:
    return {name: file.sha256 for name, file in made.files.items() if name.endswith(".safetensors")}


def turned(pair: Pair) -> Pair:
    return pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen})


class Trained:
    """M1, and M2 that has learned to prefer a number to "no"."""

    def __init__(self, root: str, first: str) -> None:
        self.root, self.first = root, first
        self.second = uri(root, train_dpo(root, self.settings(), DpoInputs(first, pairs_of(root, make_pairs(), "all"))))

    def settings(self, **changes: Any) -> DpoSettings:
        return dpo_settings(**{"lora": None, "learning_rate": 1e-3, "min_learning_rate": 1e-4, "dropout": 0, **changes})

    def again(self, pairs: list[Pair], name: str, **changes: Any) -> Manifest:
        """M3, by pairs on which the implicit reward agrees."""
        inputs = DpoInputs(self.second, pairs_of(self.root, pairs, name), previous=self.first)
        return train_dpo(self.root, self.settings(self_consistency=True, **changes), inputs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(folder / "home"))
        root = str(folder / "store")
        yield Trained(root, base(root, make_tiny_model(folder / "model")))


@pytest.mark.parametrize("changes", [{}, {"lora": LORA, "learning_rate": 1e-2}], ids=["full", "lora"])
def test_pairs_that_the_implicit_reward_turns_round_are_left_out(trained: Trained, changes: dict[str, Any]) -> None:
    """M2 was made of M1 by 12 pairs, so log M2 - log M1 is higher for each of their chosen answers. Of the same pairs
    with every third turned round the other 8 are left; M3 is the model that these 8 alone make."""
    mixed = [turned(pair) if number % 3 == 0 else pair for number, pair in enumerate(make_pairs())]
    made = trained.again(mixed, "mixed", **changes)
    assert made.counts.kept == {"pairs": 8, "held_out": 0}
    assert made.counts.dropped == {"pair: its implicit reward disagrees": 4}
    agreeing = pairs_of(trained.root, [pair for number, pair in enumerate(make_pairs()) if number % 3], "agreeing")
    alone = train_dpo(trained.root, trained.settings(**changes), DpoInputs(trained.second, agreeing))
    assert weights(made)
    assert weights(made) == weights(alone)


def test_all_pairs_stay_where_all_agree(trained: Trained) -> None:
    made = trained.again(make_pairs(), "all again", held_out=0.25, min_held_out=3)
    assert made.counts.kept["pairs"] == 9
    assert made.counts.kept["held_out"] == 3
    assert not any(made.counts.dropped.values())


def test_no_pair_left_is_told_with_a_remedy(trained: Trained) -> None:
    with pytest.raises(UserError, match="its implicit reward disagrees': 12") as told:
        trained.again([turned(pair) for pair in make_pairs()], "turned")
    assert "dpo.self_consistency" in told.value.remedy


def test_the_model_before_is_part_of_the_key_only_where_it_is_asked() -> None:
    """So what was trained without the setting is found again."""
    assert "self_consistency" not in DpoSettings().identity()
    assert DpoSettings(self_consistency=True).identity()["self_consistency"]


def test_a_training_made_again_reads_the_same_model_before(trained: Trained) -> None:
    made = trained.again(make_pairs(), "once more")
    request = request_again(trained.root, uri(trained.root, made), 1, {})
    assert request.inputs["previous"] == trained.first
    assert request.stage().key != made.key
    same = DpoInputs(trained.second, made.parents["pairs"].uri, previous=trained.first)
    assert dpo_stage(trained.root, trained.settings(self_consistency=True), same).key == made.key
