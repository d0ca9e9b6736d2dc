"""Keys that are in people's stores: the same settings and inputs have been found under them since the first models.

A key here changes when a stage's number in VERSIONS is raised, or a setting is added, and then on purpose.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from components.base_model.settings import BaseModelSettings
from components.core.records import Parent
from components.core.settings import Settings
from components.core.stage import VERSIONS, Stage
from components.eft.settings import EftSettings
from components.evaluation.alpaca_eval.settings import AnnotationSettings, InstructionsSettings
from components.evaluation.exact_answers.settings import QuestionsSettings
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.evaluation.mt_bench.settings import AnswerSettings, GradingSettings
from components.evaluation.settings import EvaluationSettings
from components.gate.settings import GatePolicy, GateSettings
from components.judging.settings import JudgingSettings, RubricSettings
from components.pairs.settings import ComparingSettings, MetaJudgeSettings, PairsSettings
from components.prompts.settings import PromptsSettings
from components.run.evaluation_texts import EvaluationTextsSettings
from components.sampling.settings import SamplingSettings
from components.seed_data.settings import SeedDataSettings
from components.training.dpo.settings import DpoSettings, ReferenceSettings
from components.training.sft.settings import SftSettings

KEYS: dict[str, tuple[Settings, str]] = {
    "base_model": (BaseModelSettings(base="some/model"), "0bad06279f060924"),
    "seed_data": (SeedDataSettings(messages="messages.jsonl"), "08acc8d6bf38dd11"),
    "eft": (EftSettings(), "5c41fa1b2779b8cc"),
    "sft": (SftSettings(), "801e0116d8b44900"),
    "prompts": (PromptsSettings(), "6d5a0c3f0cba3c3a"),
    "sampling": (SamplingSettings(), "adfde926da38a0b1"),
    "rubrics": (RubricSettings(), "d73c8635ac5e1592"),
    "judging": (JudgingSettings(), "61c43f7d059a9d6d"),
    "pairwise_judging": (ComparingSettings(), "56cba5a739471548"),
    "meta_judging": (MetaJudgeSettings().asking(), "68d48cd5b25fdd86"),
    "pairs": (PairsSettings(), "5b6b254d0b37a65e"),
    "reference_log_probs": (
        ReferenceSettings(max_length=2048, ld_alpha=None, passes="bf16", frozen=False),
        "c1a654cc896f9816",
    ),
    "dpo": (DpoSettings(), "00d64b28f88016b8"),
    "instructions": (InstructionsSettings(reference="reference.json"), "c9a98b3954ccd643"),
    "questions": (QuestionsSettings(questions="questions.jsonl"), "45315ffaea32c098"),
    "evaluation_texts": (EvaluationTextsSettings(novelty=0.7), "2ff6a9a98563c029"),
    "evaluation": (EvaluationSettings(), "bee93cf7bade2d3d"),
    "annotation": (AnnotationSettings(), "e98328daedff2613"),
    "mt_bench_answers": (AnswerSettings(), "79d180ea0d8bf96d"),
    "mt_bench": (GradingSettings(), "71ac7c7529b08682"),
    "benchmarks": (BenchmarksSettings(), "3103afafd96704a3"),
    "gate": (GateSettings(registered_name="model"), "b610a40353bd2bb6"),
    "comparison": (GatePolicy(), "f0a96bc00efc8224"),
    "training_noise": (GatePolicy(), "d6a6e7de5f27ea06"),
    "review": (Settings(), "1d0f3a3187987351"),
}


def test_every_stage_has_a_key_here() -> None:
    assert set(KEYS) == set(VERSIONS)


@pytest.mark.parametrize("stage", KEYS)
def test_the_key_is_what_it_was(stage: str, tmp_path: Path) -> None:
    settings, key = KEYS[stage]
    assert Stage(str(tmp_path), stage, settings, {"input": Parent(uri="anywhere", digest="d1")}).key == key
