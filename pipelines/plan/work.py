"""What a recipe makes the GPUs do: examples, steps, tokens and estimated hours of each training and each round.

Lengths and speeds are assumptions, printed with every plan: hours are good to a factor of two, no better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.kubernetes.settings import number
from components.training.memory import BF16, FP32, MicroBatch, is_sharded, micro_batch
from components.training.shape import Shape

if TYPE_CHECKING:
    from components.training.settings import TrainingSettings
    from pipelines.recipe import Recipe

# Tokens. The paper's answers to AlpacaEval are 1,092 (M1) to 2,552 characters (M3) long, some 270 to 640 tokens.
PROMPT, ANSWER, JUDGE_PROMPT, JUDGEMENT = 100, 500, 300, 150
EXAMPLES_PER_EFT_PROMPT = 1630 / 572  # ranked replies of an OpenAssistant prompt, as the paper's sizes have it
# A second of an H100: bf16 operations, bytes of its memory; bytes between the GPUs of a node, and between nodes
FLOPS, BANDWIDTH, NVLINK, NETWORK = 989e12, 3.35e12, 400e9, 50e9
MEMORY = 80 * 2**30  # of an H100, where a recipe does not say what its GPUs have
UTILISATION, DECODING = 0.35, 0.5  # of operations while texts are read, of memory's bandwidth while they are written
TOGETHER = 256  # requests that a server decodes at once: by default what vLLM does
LONGEST = 2.0  # the longest text of a step by the mean one: every GPU waits for the one that has it


@dataclass(frozen=True)
class Training:
    """One training of a run. `texts` of an example: 1, or for pairs 2; `tokens` is a text's mean length."""

    name: str
    section: str
    settings: TrainingSettings
    examples: int
    tokens: float
    texts: int

    @property
    def steps(self) -> int:
        whole = math.ceil(math.ceil(self.examples / self.settings.batch_size) * self.settings.epochs)
        return min(whole, self.settings.max_steps or whole)

    @property
    def seen(self) -> int:
        """Examples of all steps together."""
        steps = self.settings.max_steps
        return int(self.steps * self.settings.batch_size if steps else self.examples * self.settings.epochs)

    @property
    def total_tokens(self) -> int:
        """Of all steps together."""
        return int(self.seen * self.tokens * self.texts)

    def held(self, shape: Shape, gpus: int, gpu_memory: float) -> MicroBatch:
        """What a GPU computes with at once."""
        return micro_batch(shape, self.settings, gpus, self.texts == 2, gpu_memory)

    def hours(self, shape: Shape, nodes: int, gpus: int, gpu_memory: float = MEMORY) -> float:
        """A step lasts as long as the GPU with the longest texts computes, or as the weights are on their way."""
        settings, lora = self.settings, self.settings.lora is not None
        ranks = nodes * max(1, gpus)
        held, examples = self.held(shape, ranks, gpu_memory), max(1, settings.batch_size // ranks)
        # forward, backward (without gradients of frozen weights), again for checkpointing; a pair's reference
        operations = (4 if lora else 6) + 2 * held.checkpointing + (2 if self.texts == 2 else 0)
        tokens = (examples + LONGEST - 1) * self.texts * self.tokens
        computing = operations * shape.parameters * tokens / (FLOPS * UTILISATION)
        # gathered for forward, backward and the reference; gradients scattered
        sent = BF16 * (3 if self.texts == 2 else 2) + (0 if lora else FP32)
        moving = shape.parameters * sent / (NVLINK if nodes == 1 else NETWORK) if is_sharded(settings, ranks) else 0
        passes = math.ceil(max(tokens / held.tokens, examples / held.examples))
        return self.steps * max(computing, passes * moving) / 3600


def gpu_memory(recipe: Recipe) -> float:
    """Bytes of one of the GPUs that train."""
    return number(recipe.resources.gpu_memory) if recipe.resources.gpu_memory else MEMORY


def trainings(recipe: Recipe) -> list[Training]:
    """Every training of a run; rounds make at most one pair of each prompt."""
    ift = recipe.data.ift
    # the most that are kept, those that the recipe insists on, or about as many as its prompts have replies
    replies = round((recipe.data.eft_prompts or 0) * EXAMPLES_PER_EFT_PROMPT)
    eft = max(recipe.eft.min_examples, recipe.eft.max_examples or replies)
    eft = round(eft * recipe.sft.eft_weight)
    answered, judged = PROMPT + ANSWER, JUDGE_PROMPT + PROMPT + ANSWER + JUDGEMENT
    mixed = (ift * answered + eft * judged) / max(1, ift + eft)
    made = [Training("SFT", "sft", recipe.sft, ift, answered, 1)] if recipe.trains_baseline else []
    made.append(Training("M1", "sft", recipe.sft, ift + eft, mixed, 1))
    rounds = range(2, recipe.rounds + 2)
    return made + [Training(f"M{n}", "dpo", recipe.dpo, recipe.prompts.count, answered, 2) for n in rounds]


def generation_tokens(recipe: Recipe) -> tuple[int, int]:
    """Tokens that a round's model reads and writes: candidates, and judgements of each of them."""
    candidates = recipe.prompts.count * recipe.sampling.candidates
    judgements = candidates * recipe.judging.samples
    read = candidates * PROMPT + judgements * (JUDGE_PROMPT + PROMPT + ANSWER)
    return read, candidates * ANSWER + judgements * JUDGEMENT


def generation_hours(recipe: Recipe, shape: Shape) -> float:
    """Of one round."""
    return answering_hours(recipe, shape, *generation_tokens(recipe))


def answering_hours(recipe: Recipe, shape: Shape, read: int, written: int) -> float:
    """Of so many tokens: reading is bound by operations; writing by operations or by reading the weights for each."""
    replicas, gpus = recipe.serving.replicas, max(1, recipe.serving.pod.gpus)
    operation = 2 * shape.parameters / (gpus * FLOPS * UTILISATION)
    together = max(1, min(TOGETHER, recipe.sampling.concurrency // replicas))
    weights = BF16 * shape.parameters / (gpus * BANDWIDTH * DECODING) / together
    return (read * operation + written * max(operation, weights)) / replicas / 3600
