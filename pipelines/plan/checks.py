"""A recipe as a whole: settings that are right each by itself and wrong together, found when it is read (issue 12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from components.kubernetes.settings import NOT_FOR_STEPS, number
from components.metrics.statistics import BENCHMARK
from components.serving.kubernetes.launch import LORA_RANKS
from components.training.memory import BF16, FP32, RESERVE, looking_memory, training_memory
from components.training.shape import Shape, shape_of

if TYPE_CHECKING:
    from components.judging.settings import JudgingSettings
    from components.pairs.settings import ComparingSettings
    from components.serving.settings import Generation
    from pipelines.recipe import Recipe

CHARACTERS = 4  # of English in a token, about; a recipe has no tokenizer
GB = 1e9


def mistakes(recipe: Recipe, shape: Shape | None = None) -> list[str]:
    """Each with the settings that do not fit, and what would; else they show days after the run has begun.

    `shape` is the model's, where it is known better than by the name of its base."""
    shape = shape or shape_of(recipe.model.base)
    found = [*_batches(recipe), *_contexts(recipe, shape), *_judge_prompts(recipe), *_training_texts(recipe)]
    found += [*_pods(recipe), *_adapters(recipe), *_gate(recipe), *_without_ift(recipe), *_methods(recipe)]
    return found + (list(_sizes(recipe, shape)) if shape else [])


def gpus_of(recipe: Recipe) -> int:
    """Processes that train together."""
    return recipe.resources.nodes * max(1, recipe.resources.gpus)


def _batches(recipe: Recipe) -> Iterator[str]:
    """Every GPU has as many examples of a step."""
    pods, gpus = recipe.resources, gpus_of(recipe)
    for name, settings in (("sft", recipe.sft), ("dpo", recipe.dpo)):
        if settings.batch_size % gpus:
            yield (
                f"{name}.batch_size {settings.batch_size} does not divide among {gpus} GPUs (resources.nodes "
                f"{pods.nodes} x resources.gpus {pods.gpus}): change one of them"
            )


def _contexts(recipe: Recipe, shape: Shape | None) -> Iterator[str]:
    """What a server holds: the prompt and the answer of every request."""
    total = recipe.serving.max_total_tokens
    if shape and total > shape.positions:
        yield f"serving.max_total_tokens {total} is more than the model's {shape.positions} positions: lower it"
    for name, generation in _generations(recipe).items():
        if generation.max_tokens >= total:
            yield (
                f"{name}.max_tokens {generation.max_tokens} leaves serving.max_total_tokens {total} no room for a "
                "prompt: lower the one or raise the other"
            )
    prompt = 0 if recipe.prompts.source == "file" else recipe.prompts.max_tokens
    if prompt + recipe.sampling.max_tokens > total > recipe.sampling.max_tokens:
        yield (
            f"serving.max_total_tokens {total} does not hold a prompt (prompts.max_tokens {prompt}) and its answer "
            f"(sampling.max_tokens {recipe.sampling.max_tokens}): raise it to {prompt + recipe.sampling.max_tokens}"
        )
    if recipe.mt_bench and 2 * recipe.mt_bench.answers.max_tokens >= total:
        yield (
            f"serving.max_total_tokens {total} does not hold the two answers of MT-Bench "
            f"(mt_bench.answers.max_tokens {recipe.mt_bench.answers.max_tokens}): raise it or lower them"
        )


def _generations(recipe: Recipe) -> dict[str, Generation]:
    """Sections that ask a model of the run, by name."""
    early_stop = recipe.dpo.judged_answers
    sections: dict[str, Generation | None] = {
        "prompts": recipe.prompts if recipe.prompts.source != "file" else None,
        "sampling": recipe.sampling,
        "judging": recipe.judging,
        "judging.rubrics": recipe.judging.rubrics,
        "eft": recipe.eft if recipe.eft.source == "model" else None,
        "pairs.comparisons": recipe.pairs.comparisons,
        "pairs.meta_judge": recipe.pairs.meta_judge,
        "evaluation.answers": recipe.evaluation.answers,
        "evaluation.judging": recipe.evaluation.judging,
        "dpo.early_stop.answers": early_stop.answers if early_stop else None,
        "dpo.early_stop.judging": early_stop.judging if early_stop else None,
    }
    taken_over = {recipe.sampling.max_tokens, recipe.judging.max_tokens}  # told once, where it was said
    return {
        name: section
        for name, section in sections.items()
        if section and (section in (recipe.sampling, recipe.judging) or section.max_tokens not in taken_over)
    }


def prompt_tokens(judging: JudgingSettings | ComparingSettings) -> int:
    """Of the judge prompt by itself, about."""
    return (len(judging.prompt) - len("{instruction}{response}")) // CHARACTERS


def _judge_prompts(recipe: Recipe) -> Iterator[str]:
    """A judge reads its prompt and an answer (or two, or two judgements), and writes a judgement."""
    total, early_stop = recipe.serving.max_total_tokens, recipe.dpo.judged_answers
    judges: dict[str, tuple[JudgingSettings | ComparingSettings, int]]
    rubric = recipe.judging.rubrics.max_tokens if recipe.judging.rubrics else 0
    judges = {"judging": (recipe.judging, recipe.sampling.max_tokens + rubric)}
    if recipe.evaluation.judging.prompt != recipe.judging.prompt:
        judges["evaluation.judging"] = (recipe.evaluation.judging, 0)
    if early_stop and early_stop.judging.prompt != recipe.judging.prompt:
        judges["dpo.early_stop.judging"] = (early_stop.judging, early_stop.answers.max_tokens)
    if comparing := recipe.pairs.comparisons:
        judges["pairs.comparisons"] = (comparing, 2 * recipe.sampling.max_tokens)
    if meta_judge := recipe.pairs.meta_judge:
        judged = prompt_tokens(recipe.judging) + recipe.sampling.max_tokens + rubric
        judges["pairs.meta_judge"] = (meta_judge, judged + 2 * recipe.judging.max_tokens)
    for name, (judging, texts) in judges.items():
        prompt = prompt_tokens(judging)
        if prompt + texts + judging.max_tokens >= total > judging.max_tokens:
            yield (
                f"serving.max_total_tokens {total} holds no judge prompt ({name}.prompt, some {prompt} tokens), "
                f"what it judges, up to {texts}, and {name}.max_tokens {judging.max_tokens}: raise it or shorten them"
            )


def _training_texts(recipe: Recipe) -> Iterator[str]:
    """Texts that are made must be short enough to be trained on, and those trained on short enough to be asked."""
    total = recipe.serving.max_total_tokens
    for name, settings in (("sft", recipe.sft), ("dpo", recipe.dpo)):
        if settings.max_length > total:
            yield (
                f"{name}.max_length {settings.max_length} is more than serving.max_total_tokens {total}: it would "
                "be trained on texts that it can never be asked; lower the one or raise the other"
            )
    judged = prompt_tokens(recipe.judging) + (recipe.eft.max_tokens if recipe.eft.source == "model" else 0)
    if judged >= recipe.sft.max_length:
        yield (
            f"sft.max_length {recipe.sft.max_length} does not hold an EFT example: judge prompt and judgement take "
            f"about {judged} tokens; raise it"
        )
    made = recipe.sampling.max_tokens + (0 if recipe.prompts.source == "file" else recipe.prompts.max_tokens)
    if min(made, total) > recipe.dpo.max_length:
        yield (
            f"dpo.max_length {recipe.dpo.max_length} does not hold the longest pairs: prompts and answers of "
            f"prompts.max_tokens and sampling.max_tokens take {made} tokens; raise it"
        )
    task = prompt_tokens(recipe.judging) + recipe.sampling.max_tokens + recipe.judging.max_tokens
    if recipe.pairs.meta_judge and min(task, total) > recipe.dpo.max_length:
        yield (
            f"dpo.max_length {recipe.dpo.max_length} does not hold pairs of judgements: judge prompt, answer and "
            f"judgement take up to {task} tokens; raise it, or leave pairs.meta_judge out"
        )


def _methods(recipe: Recipe) -> Iterator[str]:
    """What pairs and loss say of each other."""
    pairs, dpo = recipe.pairs, recipe.dpo
    if pairs.consistency and (dpo.label_smoothing or dpo.loss != "sigmoid"):
        yield (
            "pairs.consistency smooths DPO by what it measures, so that dpo.label_smoothing must be 0 and dpo.loss "
            "sigmoid: leave them out, or set pairs.consistency to false"
        )
    of_scores = (pairs.score != "mean", pairs.rejected_from != "policy", pairs.consistency)
    if pairs.comparisons and any(of_scores):
        name = ("score", "rejected_from", "consistency")[of_scores.index(True)]
        yield f"pairs.comparisons takes wins for scores, and pairs.{name} is about judgements: leave one of them out"
    if pairs.meta_judge and recipe.judging.samples < 2:
        yield "pairs.meta_judge compares judgements of one answer, and judging.samples is 1: raise it"
    if pairs.human_rounds and not recipe.data.ift:
        yield "pairs.human_rounds needs human answers, and data.ift is 0: set one of them otherwise"


def _gate(recipe: Recipe) -> Iterator[str]:
    """Rules about benchmarks that nobody measures would never stop a run."""
    gate = recipe.gate
    rules = [name for part in (gate.improve, gate.regress, gate.floors, gate.ceilings) for name in part]
    # a group's tasks are named by the harness: mmlu_anatomy_generative of mmlu_generative
    families = [task.split("_")[0] for task in recipe.benchmarks.tasks] if recipe.benchmarks else []
    for name in rules:
        if name.startswith(BENCHMARK) and not any(name.startswith(f"{BENCHMARK}{family}") for family in families):
            yield (
                f"gate names {name}, and benchmarks.tasks has no such task: add the task, or write the rule as "
                f"{BENCHMARK}<task>_<metric>"
            )


def _without_ift(recipe: Recipe) -> Iterator[str]:
    """M0 is then the baseline, and EFT's prompts are the only seeds that new ones can be written after."""
    data, prompts = recipe.data, recipe.prompts
    if recipe.gate.baseline == "sft" and not recipe.trains_baseline:
        why = "sft.baseline false" if data.ift else "data.ift 0"
        yield f"gate.baseline is sft, and with {why} there is no SFT baseline but M0: say m0 or best"
    if data.ift:
        return
    if prompts.source != "file" and data.eft_prompts is not None and data.eft_prompts < prompts.seed_shots:
        yield (
            f"with data.ift 0 demonstrations for new prompts come from EFT's, and data.eft_prompts {data.eft_prompts} "
            f"are fewer than prompts.seed_shots {prompts.seed_shots}: raise data.eft_prompts, or take prompts from a "
            "file (prompts.source)"
        )


def _pods(recipe: Recipe) -> Iterator[str]:
    """GPUs that a pod's other settings speak of, and what a training pod cannot be given."""
    for name, pod in {"resources": recipe.resources, "serving.pod": recipe.serving.pod}.items():
        if pod.gpu_memory and not pod.gpus:
            yield f"{name}.gpu_memory is given and {name}.gpus is 0: set {name}.gpus"
    if (shape := recipe.cluster.pods.get("trainer")) and recipe.resources.nodes == 1:
        if beyond := "; ".join(shape.beyond_steps()):
            yield f"cluster.pods.trainer: {beyond}: {NOT_FOR_STEPS}"
    elif shape and (beyond := "; ".join(shape.beyond_nodes())):
        remedy = "a TrainJob cannot have it; give it to its runtime (values of the chart)"
        yield f"cluster.pods.trainer: {beyond}: {remedy}"


def _adapters(recipe: Recipe) -> Iterator[str]:
    """The ranks of a model's own adapter and of those before it add up."""
    room, first, later = recipe.serving.adapter_rank, recipe.sft.lora, recipe.dpo.lora
    needed = (first.rank if first else 0) + (recipe.rounds * later.rank if later else 0)
    if room and not needed:
        yield f"serving.adapter_rank is {room} and nothing is trained by LoRA: set it to 0, or sft.lora and dpo.lora"
    elif room and needed > (most := LORA_RANKS[-1]):
        yield f"after {recipe.rounds} rounds adapters have rank {needed}, vLLM takes {most}: lower dpo.lora.rank"
    elif room and room < needed:
        yield f"serving.adapter_rank {room} is less than the rank after {recipe.rounds} rounds: set it to {needed}"


def _sizes(recipe: Recipe, shape: Shape) -> Iterator[str]:
    """The model against the GPUs and the memory of its pods."""
    pods, server = recipe.resources, recipe.serving.pod
    room, server_room = (number(pod.gpu_memory or "0") * (1 - RESERVE) for pod in (pods, server))
    for name, settings in (("sft", recipe.sft), ("dpo", recipe.dpo)):
        needed = training_memory(shape, settings, gpus_of(recipe), pairs=name == "dpo").total
        if pods.gpu_memory and needed > room:
            yield (
                f"{name} needs about {needed / GB:.0f} GB on each of {gpus_of(recipe)} GPUs, and resources.gpu_memory "
                f"{pods.gpu_memory} has {room / GB:.0f} GB to use: take more or larger GPUs, lower "
                f"{name}.max_length or {name}.micro_batch_size, or set {name}.lora"
            )
    looking = looking_memory(shape, recipe.dpo, gpus_of(recipe))
    if recipe.dpo.judged_answers and pods.gpu_memory and looking > room:
        yield (
            f"dpo.early_stop by answers serves a whole model on one GPU beside its part of the training, about "
            f"{looking / GB:.0f} GB, and resources.gpu_memory {pods.gpu_memory} has {room / GB:.0f} GB to use: set "
            "dpo.early_stop.by to pairs, or take more or larger GPUs"
        )
    lora = recipe.sft.lora is not None and recipe.dpo.lora is not None
    read = shape.parameters * (BF16 if lora else FP32)
    memory = pods.amount("memory_limit")
    if pods.gpus and memory and number(memory) < read:
        yield f"resources.memory {memory} does not hold the {read / GB:.0f} GB of weights that one process reads"
    if server.gpus > 1 and shape.heads % server.gpus:
        yield f"serving.pod.gpus {server.gpus} does not divide the model's {shape.heads} attention heads"
    share = BF16 * shape.parameters / max(1, server.gpus)
    if server.gpu_memory and not recipe.serving.quantize and share > server_room:
        yield (
            f"serving.pod.gpus {server.gpus} of serving.pod.gpu_memory {server.gpu_memory} do not hold the model's "
            f"{BF16 * shape.parameters / GB:.0f} GB in bf16: raise serving.pod.gpus or set serving.quantize"
        )
