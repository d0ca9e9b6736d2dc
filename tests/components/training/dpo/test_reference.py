"""What DPO's reference says of pairs is kept by model and pairs: who finds it there, and who asks again."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.base_model.base_model import load_tokenizer
from components.core.records import CurvePoint, ReferenceLogProbs
from components.core.stage import read_records
from components.core.store import join, open_store
from components.training.dpo import reference
from components.training.dpo.dpo import DpoInputs, make_trainer, train_dpo
from components.training.dpo.margins import policy_sums, reference_sums
from components.training.dpo.reference import reference_stage
from components.training.dpo.settings import DpoSettings
from tests.components.training.test_training import LORA, base, dpo_settings, make_pairs, toy_pairs, uri
from tests.helpers.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many pairs the reference was asked, each time that it was."""
    real: Callable[..., Any] = reference.policy_sums
    times: list[int] = []

    def policy_sums(trainer: Any, pairs: Any, *rest: Any, **named: Any) -> Any:
        times.append(len(pairs))
        return real(trainer, pairs, *rest, **named)

    monkeypatch.setattr(reference, "policy_sums", policy_sums)
    return times


def losses(root: str, settings: DpoSettings, inputs: DpoInputs) -> list[float]:
    made = train_dpo(root, settings, inputs)
    return [point.values["loss"] for point in read_records(uri(root, made), "curve", CurvePoint)]


def tables(root: str) -> list[str]:
    return [name for name in open_store(root).names("reference_log_probs/") if name.endswith("manifest.json")]


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_another_training_on_the_same_pairs_does_not_ask_again(
    model: Path, tmp_path: Path, asked: list[int], lora: Any
) -> None:
    """Another beta, seed and share of held-out pairs: of the 12 pairs 3 are held out, then 4. Its losses are those that
    it has where nobody asked before."""
    values = {"lora": lora, "dropout": 0, "epochs": 1}
    first = dpo_settings(held_out=0.25, min_held_out=1, **values)
    other = dpo_settings(beta=0.5, seed=7, held_out=0.3, min_held_out=1, **values)
    made = []
    for name, trainings in (("alone", [other]), ("both", [first, other])):
        root = str(tmp_path / name)
        inputs = DpoInputs(base(root, model), toy_pairs(root))
        made.append([losses(root, settings, inputs) for settings in trainings][-1])
        assert len(tables(root)) == 1
    assert asked == [8, 4, 9, 3]
    assert made[0] == pytest.approx(made[1], abs=1e-5)


def test_its_key_is_of_what_decides_it(model: Path, tmp_path: Path) -> None:
    root = str(tmp_path)
    policy, pairs = base(root, model), toy_pairs(root)

    def key(**changes: Any) -> str:
        return reference_stage(root, dpo_settings(**changes), policy, pairs).key

    shared = [{"beta": 0.5}, {"learning_rate": 1e-3}, {"seed": 9}, {"epochs": 5}, {"nll_weight": 0.2}, {"dropout": 0}]
    others = [{"max_length": 64}, {"ld_alpha": 0.5}, {"precision": "bf16"}, {"lora": None}]
    assert {key(**changes) for changes in shared} == {key()}
    assert len({key(), *(key(**changes) for changes in others)}) == 1 + len(others)
    assert reference_stage(root, dpo_settings(), base(root, model), toy_pairs(root)).key == key()


def test_what_is_kept_is_what_was_asked(model: Path, tmp_path: Path) -> None:
    """By pair, those that were held out, too; the policy's before it is trained."""
    root = str(tmp_path)
    policy, pairs, settings = base(root, model), toy_pairs(root), dpo_settings(held_out=0.25, min_held_out=1)
    train_dpo(root, settings, DpoInputs(policy, pairs))
    stage = reference_stage(root, settings, policy, pairs)
    assert stage.manifest and stage.manifest.counts.kept == {"pairs": 12}
    kept = {one.id: (one.chosen, one.rejected) for one in read_records(stage.uri, "log_probs", ReferenceLogProbs)}
    assert set(kept) == {pair.id for pair in make_pairs()}
    trainer = make_trainer(model, load_tokenizer(model), make_pairs(), settings, tmp_path / "out", reference=kept)
    known = reference_sums(trainer.train_dataset)
    assert known == [kept[pair.id] for pair in make_pairs()]
    untrained = policy_sums(trainer, trainer.train_dataset)
    torch.testing.assert_close(torch.tensor(untrained), torch.tensor(known), atol=1e-4, rtol=0)
    assert all(math.isfinite(side) and side < 0 for sums in kept.values() for side in sums)


def test_a_training_that_goes_on_after_a_crash_does_not_ask_again(
    model: Path, tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the weights of one that nothing happened to."""

    class PowerCutError(RuntimeError):
        pass

    def cut(*_: Any, **__: Any) -> None:
        raise PowerCutError

    made = []
    for name in ("undisturbed", "killed"):
        root = str(tmp_path / name)
        inputs = DpoInputs(base(root, model), toy_pairs(root))
        if name == "killed":
            with monkeypatch.context() as patch:
                patch.setattr("components.training.saving.save_trained", cut)
                with pytest.raises(PowerCutError):
                    train_dpo(root, dpo_settings(), inputs)
            assert open_store(join(root, "dpo")).names()  # checkpoints
        made.append(train_dpo(root, dpo_settings(), inputs).digest)
    assert made[0] == made[1]
    assert asked == [12, 12]
