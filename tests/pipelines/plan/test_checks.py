"""Settings that are right each by itself and wrong together are refused when the recipe is read, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError
from pipelines.plan.checks import mistakes
from pipelines.recipe import load_recipe, shipped_recipes
from tests.helpers.tiny_model import make_tiny_model

PAPER, SMALL, DEMO = "llama2-70b-paper", "llama3-8b", "demo"

# One of each kind: the recipe, what is changed, and the beginning of the only mistake.
WRONG = {
    "batch 16 on 32 ranks, as the recipe of the paper once was": (
        PAPER,
        ["resources.nodes=4", "sft.batch_size=32"],
        "dpo.batch_size 16 does not divide among 32 GPUs (resources.nodes 4 x resources.gpus 8)",
    ),
    "a batch that does not divide among GPUs": (
        SMALL,
        ["sft.batch_size=12"],
        "sft.batch_size 12 does not divide among 8 GPUs",
    ),
    "adapters of more rank than a server has room for": (
        DEMO,
        ["serving.adapter_rank=32", "rounds=3"],
        "serving.adapter_rank 32 is less than the rank after 3 rounds: set it to 64",
    ),
    "more rounds than vLLM has rank for": (
        DEMO,
        ["serving.adapter_rank=512", "rounds=32"],
        "after 32 rounds adapters have rank 528, vLLM takes 512",
    ),
    "adapters of models whose weights are all trained": (
        SMALL,
        ["serving.adapter_rank=64"],
        "serving.adapter_rank is 64 and nothing is trained by LoRA",
    ),
    "CREAM, which finds the smoothing, and a smoothing": (
        DEMO,
        ["pairs.consistency=true", "dpo.label_smoothing=0.1"],
        "pairs.consistency smooths DPO by what it measures, so that dpo.label_smoothing must be 0",
    ),
    "scores by majority, and wins in their place": (
        DEMO,
        ["pairs.comparisons={}", "pairs.score=majority"],
        "pairs.comparisons takes wins for scores, and pairs.score is about judgements: leave one of them out",
    ),
    "a meta-judge with nothing to compare": (
        DEMO,
        ["pairs.meta_judge={}", "judging.samples=1"],
        "pairs.meta_judge compares judgements of one answer, and judging.samples is 1: raise it",
    ),
    "pairs of judgements too long to be trained on": (
        DEMO,
        ["pairs.meta_judge={}", "dpo.max_length=200"],
        "dpo.max_length 200 does not hold pairs of judgements",
    ),
    "answers too long to be compared two by two": (
        DEMO,
        ["pairs.comparisons={max_tokens: 1900}"],
        "serving.max_total_tokens 2048 holds no judge prompt (pairs.comparisons.prompt",
    ),
    "SPIN without human answers": (
        DEMO,
        ["data.ift=0", "pairs.human_rounds=1"],
        "pairs.human_rounds needs human answers, and data.ift is 0",
    ),
    "a rule on a benchmark that is not measured": (
        DEMO,
        ["gate.regress={benchmark_gsm8k_exact_match_strict-match: 0.05}"],
        "gate names benchmark_gsm8k_exact_match_strict-match, and benchmarks.tasks has no such task",
    ),
    "a baseline that is not trained": (
        DEMO,
        ["data.ift=0", "gate.baseline=sft"],
        "gate.baseline is sft, and with data.ift 0 there is no SFT baseline but M0",
    ),
    "a baseline that is left out": (
        PAPER,
        ["sft.baseline=false", "gate.baseline=sft"],
        "gate.baseline is sft, and with sft.baseline false there is no SFT baseline but M0",
    ),
    "no IFT, and too few other prompts to write new ones after": (
        DEMO,
        ["data.ift=0", "data.eft_prompts=2"],
        "with data.ift 0 demonstrations for new prompts come from EFT's, and data.eft_prompts 2 are fewer than",
    ),
    "early stop by answers of a model that fits no GPU whole": (
        PAPER,
        ["dpo.early_stop.by=answers"],
        "dpo.early_stop by answers serves a whole model on one GPU beside its part of the training, about 200 GB",
    ),
    "a context longer than the model's": (
        PAPER,
        ["serving.max_total_tokens=8192"],
        "serving.max_total_tokens 8192 is more than the model's 4096 positions",
    ),
    "trained on texts longer than can be asked": (
        DEMO,
        ["sft.max_length=4096"],
        "sft.max_length 4096 is more than serving.max_total_tokens 2048",
    ),
    "answers as long as the context": (
        DEMO,
        ["evaluation.answers.max_tokens=2048"],
        "evaluation.answers.max_tokens 2048 leaves serving.max_total_tokens 2048 no room",
    ),
    "a prompt and its answer longer than the context": (
        DEMO,
        ["sampling.max_tokens=1600", "prompts.max_tokens=500", "dpo.max_length=2048", "judging.max_tokens=16"],
        "serving.max_total_tokens 2048 does not hold a prompt (prompts.max_tokens 500) and its answer",
    ),
    "a judge prompt with an answer and a judgement longer than the context": (
        DEMO,
        ["judging.max_tokens=1900"],
        "serving.max_total_tokens 2048 holds no judge prompt (judging.prompt, some",
    ),
    "EFT examples longer than is trained on": (
        SMALL,
        ["sft.max_length=512"],
        "sft.max_length 512 does not hold an EFT example",
    ),
    "pairs longer than is trained on": (
        SMALL,
        ["dpo.max_length=1024"],
        "dpo.max_length 1024 does not hold the longest pairs",
    ),
    "two turns of MT-Bench longer than the context": (
        PAPER,
        ["mt_bench.answers.max_tokens=2048"],
        "serving.max_total_tokens 4096 does not hold the two answers of MT-Bench",
    ),
    "GPUs too small to train on": (
        PAPER,
        ["resources.gpu_memory=100Gi"],
        "dpo needs about 101 GB on each of 16 GPUs, and resources.gpu_memory 100Gi has 99 GB to use",
    ),
    "the whole model on each GPU": (
        SMALL,
        ["dpo.sharding=none"],
        "dpo needs about",
    ),
    "GPUs too small to serve on": (
        PAPER,
        ["serving.pod.gpus=1"],
        "serving.pod.gpus 1 of serving.pod.gpu_memory 80Gi do not hold the model's 138 GB in bf16",
    ),
    "heads that do not divide among a server's GPUs": (
        PAPER,
        ["serving.pod.gpus=6"],
        "serving.pod.gpus 6 does not divide the model's 64 attention heads",
    ),
    "a pod that does not hold the weights": (
        PAPER,
        ["resources.memory=200Gi"],
        "resources.memory 200Gi does not hold the 276 GB of weights",
    ),
    "memory of no GPU": (
        DEMO,
        ["resources.gpu_memory=80Gi"],
        "resources.gpu_memory is given and resources.gpus is 0",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_each_kind_of_wrong_combination_is_refused(kind: str) -> None:
    recipe, changes, beginning = WRONG[kind]
    with pytest.raises(UserError) as refused:
        load_recipe(recipe, changes)
    told = refused.value.problem.splitlines()
    assert told[0].endswith("has one mistake:")
    assert told[1].startswith(f"  recipe: {beginning}")


def test_several_are_told_at_once() -> None:
    with pytest.raises(UserError, match="has 3 mistakes:"):
        load_recipe(PAPER, ["resources.nodes=4", "serving.pod.gpus=6"])


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_fit(name: str) -> None:
    assert mistakes(load_recipe(name)) == []


def test_the_paper_also_fits_32_gpus_of_80_gb_with_a_batch_of_32() -> None:
    changes = ["resources.nodes=4", "resources.gpu_memory=80Gi", "sft.batch_size=32", "dpo.batch_size=32"]
    assert load_recipe(PAPER, changes).resources.nodes == 4


def test_a_model_of_ones_own_is_measured_by_its_config(tmp_path: Path) -> None:
    """The tiny model has 4 heads, which 3 GPUs cannot share, and 4,096 positions."""
    base = f"model.base={make_tiny_model(tmp_path)}"
    with pytest.raises(UserError, match=r"serving\.pod\.gpus 3 does not divide the model's 4 attention heads"):
        load_recipe(DEMO, [base, "serving.pod.gpus=3"])
    with pytest.raises(UserError, match="more than the model's 4096 positions"):
        load_recipe(DEMO, [base, "serving.max_total_tokens=5000"])


def test_a_model_of_unknown_size_is_not_held_against_gpus() -> None:
    assert load_recipe(PAPER, ["model.base=someone/a-model", "resources.gpu_memory=8Gi"]).resources.gpu_memory == "8Gi"
