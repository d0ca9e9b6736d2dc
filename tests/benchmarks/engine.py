"""The embedded engine beside transformers' `generate` and `generate_batch`: in sampling (N answers to a prompt) and in
judging (K judgements of each answer, all behind one instruction), with the same prompts and as many tokens.

Counted are tokens by seconds of CPU of one thread: others on the machine make none of these longer. The limit is what
the matrix products alone take, layer after layer: those of a step of all for each token, those of 512 rows for each
distinct prompt token. The engine in int8 is held against itself in fp32.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from components.serving.embedded.decoding.sampling import Sampler
from components.serving.embedded.decoding.sequences import Sequence
from components.serving.embedded.model.int8 import has_vnni
from components.serving.embedded.model.loading import load
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.model.packed import pack
from components.serving.embedded.model.prefix import common_length
from components.serving.embedded.scheduler.engine import Engine, Limits
from tests.benchmarks.in_turn import best_in_turn
from tests.benchmarks.row import Row
from tests.benchmarks.small_model import make_small_model

LONG_ROW = 512
# Layers of SmolLM2-135M, whose products, keys and overhead they have: 6 of its 30, and a fifth of its vocabulary.
SIZE = {"hidden": 576, "layers": 6, "vocabulary": 9830}
TEMPERATURE, TOP_P = 0.7, 0.9
# generate_batch's sequences stand in one row, where each token is multiplied with the keys of all, under a mask. So not
# all are in one step: of steps of 4 to 48 these were the fastest.
IN_A_STEP, TOKENS_IN_A_STEP, PAGE = {"sampling": 16, "judging": 8}, 512, 32
BATCH_TOKENS = 32  # of its answers: with 96 it takes more than a minute
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """Prompts, each as often as it is asked, and the tokens that every answer has."""

    name: str
    prompts: list[Tokens]
    new_tokens: int
    goal: float

    @property
    def generated(self) -> int:
        return len(self.prompts) * self.new_tokens

    @property
    def distinct_tokens(self) -> int:
        """Prompt tokens that must be read: what prompts have in common at their start counts once."""
        ordered = sorted(set(self.prompts))
        common = [common_length(one, other) for one, other in pairwise(ordered)]
        return sum(map(len, ordered)) - sum(common)


def works(batch: int, new_tokens: int) -> list[Work]:
    """Sampling: 4 answers to prompts of 20 to 90 tokens. Judging: 3 judgements of texts of 150 to 300 tokens, behind an
    instruction of 300. Of each, a batch.
    """
    draw = np.random.default_rng(0)

    def text(shortest: int, longest: int) -> Tokens:
        return tuple(draw.integers(97, 123, draw.integers(shortest, longest)).tolist())

    instruction = text(300, 301)
    sampled = [prompt for prompt in (text(20, 90) for _ in range(batch // 4)) for _ in range(4)]
    judged = [instruction + said for said in (text(150, 300) for _ in range(batch // 3)) for _ in range(3)]
    return [Work("sampling", sampled, new_tokens, 3), Work("judging", judged, new_tokens, 5)]


def by_engine(model: Path, work: Work, quantize: str | None = None) -> float:
    """Seconds of CPU. Nothing ends an answer before its last token."""
    loaded = load(model, quantize=quantize)
    loaded.tokenizer.end_ids = frozenset()
    engine = Engine(loaded, Limits(max_batch=len(work.prompts), max_batch_total_tokens=10**6), Metrics())
    asked = [
        Sequence(prompt, work.new_tokens, Sampler(seed, TEMPERATURE, top_p=TOP_P))
        for seed, prompt in enumerate(work.prompts)
    ]
    begun = time.process_time()
    for sequence in asked:
        engine.submit(sequence)
    while not all(sequence.future.done() for sequence in asked):
        engine.step()
    seconds = time.process_time() - begun
    assert {sequence.future.result().generated_tokens for sequence in asked} == {work.new_tokens}
    return seconds


@torch.inference_mode()
def by_generate(model: Path, work: Work, batch: int) -> float:
    """Seconds of CPU, the prompts padded on the left."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    begun = time.process_time()
    for first in range(0, len(work.prompts), batch):
        prompts = work.prompts[first : first + batch]
        longest = max(map(len, prompts))
        ids = torch.tensor([(0,) * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([(0,) * (longest - len(prompt)) + (1,) * len(prompt) for prompt in prompts])
        written = loaded.generate(
            input_ids=ids,
            attention_mask=mask,
            min_new_tokens=work.new_tokens,
            max_new_tokens=work.new_tokens,
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=0,
        )
        assert written.shape[1] == longest + work.new_tokens
    return time.process_time() - begun


def by_generate_batch(model: Path, work: Work) -> float:
    """Seconds of CPU of transformers' continuous batching. Each prompt is read once for all of its answers.

    Left to itself it makes a mask of 8,192 tokens against as many as 60 % of the memory hold, and fills it: 10 GB.
    """
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    asked = Counter(work.prompts)
    (answers,) = set(asked.values())
    ours = ContinuousBatchingConfig(
        num_blocks=sum(len(prompt) + work.new_tokens + PAGE for prompt in work.prompts) // PAGE,
        page_size=PAGE,
        max_batch_tokens=TOKENS_IN_A_STEP,
        max_requests_per_batch=IN_A_STEP[work.name],
    )
    drawn = GenerationConfig(
        max_new_tokens=work.new_tokens,
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        top_k=0,
        num_return_sequences=answers,
        eos_token_id=-1,
    )
    begun = time.process_time()
    written = loaded.generate_batch([list(prompt) for prompt in asked], drawn, ours)
    seconds = time.process_time() - begun
    lengths = [len(answer.generated_tokens) for answer in written.values()]
    assert lengths == [work.new_tokens] * len(work.prompts), lengths
    return seconds


@torch.inference_mode()
def products(model: Path, rows: int, head: bool) -> float:
    """Seconds of CPU of a forward pass's products of so many rows with the weights, packed as the engine has them; the
    best of some. Layer after layer: a model's weights do not fit into the caches, one layer's would.
    """
    weights = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    linear = [module for module in weights.modules() if isinstance(module, torch.nn.Linear)]
    read = [layer for layer in linear if head or layer is not weights.lm_head]
    inputs, layers = [torch.rand(rows, layer.in_features) for layer in read], torch.nn.ModuleList(read)
    pack(layers)
    return min(_seconds(layers, inputs) for _ in range(7))


def _seconds(layers: torch.nn.ModuleList, inputs: list[Tensor]) -> float:
    begun = time.process_time()
    for layer, rows in zip(layers, inputs, strict=True):
        layer(rows)
    return time.process_time() - begun


def rows(quick: bool) -> list[Row]:
    """In the sizes of issue 17, 48 at once; half as many when quick, and then beside batches of all alone."""
    batch, new_tokens = (24, 24) if quick else (48, 96)
    threads, made = torch.get_num_threads(), []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = make_small_model(Path(folder), **SIZE)
        step, read = products(model, batch, head=True), products(model, LONG_ROW, head=False)

        def row(work: Work, ours: float, name: str, theirs: float, **goals: float) -> Row:
            least = work.new_tokens * step + work.distinct_tokens / LONG_ROW * read
            speeds = (work.generated / ours, name, work.generated / theirs, work.generated / least)
            note = f"{batch} at once, {work.new_tokens} tokens each; one thread"
            return Row(f"{work.name}, embedded engine", "tokens/s of CPU", *speeds, **goals, note=note)

        for work in works(batch, new_tokens):
            ways = [partial(by_engine, model, work), partial(by_generate, model, work, batch)]
            ways += [partial(by_engine, model, work, "int8")] if has_vnni() else []  # elsewhere it is refused
            ours, theirs, *int8 = best_in_turn(ways, 1 if quick else 2)
            goals = {"of_other": work.goal, "of_limit": 0.6}
            made.append(row(work, ours, f"generate by {batch}", theirs, **goals))
            if not quick:
                made.append(row(work, ours, "generate by 8", by_generate(model, work, 8)))
            for seconds in int8:
                part, fp32 = f"{work.name}, embedded engine in int8", ("in fp32", work.generated / ours)
                made.append(Row(part, "tokens/s of CPU", work.generated / seconds, *fp32, note=made[-1].note))
        for work in [] if quick else works(batch, BATCH_TOKENS):
            name = f"generate_batch by {IN_A_STEP[work.name]}"
            made.append(row(work, by_engine(model, work), name, by_generate_batch(model, work)))
    torch.set_num_threads(threads)
    return made
