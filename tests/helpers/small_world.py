"""The world of examples/world with fewer prompts and steps: M1 to M3 within a test, and what they learn is real.

The recipe is the shipped `world`; what differs from it stands here, with the reason. An annotator that knows the truth
compares answers, so that win rates can be held against it, too.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.core.store import open_store
from examples.world.data import Sizes, slip
from examples.world.make import make_world, overrides
from examples.world.truth import true_score
from pipelines.recipe import load_recipe
from tests.helpers.scripted_endpoint import Script, said, served

SEED = 1
VERDICTS = [None, None, "promote", "promote", "promote"]  # on M0, the SFT baseline, M1, M2 and M3
SIZES = Sizes(ift=1000, judgements=3000, ranked=51, pool=200, questions=120)
SETTINGS = (
    "rounds=2",
    f"seed={SEED}",
    f"data.ift={SIZES.ift}",
    "data.eval_prompts=50",
    f"eft.min_examples={SIZES.judgements}",
    "sft.batch_size=64",
    "sft.micro_batch_size=64",
    "sft.epochs=7",  # 441 steps of M1; the judge finds out what it is about after 250 to 350
    "prompts.count=100",
    # few requests at a time: a test must be able to catch sampling and judging in the middle
    "sampling.concurrency=16",
    "judging.concurrency=16",
    "evaluation.answers.concurrency=64",
    "evaluation.judging.concurrency=64",
    "evaluation.exact_answers.samples=4",
    "dpo.batch_size=16",
    "dpo.micro_batch_size=8",
    "dpo.max_steps=30",
    "dpo.learning_rate=3.0e-4",  # 1e-3 spoils the judge
    "dpo.lora={rank: 8, alpha: 16}",
    "dpo.checkpoint_every=4",
    "annotation.head_to_head=true",
    "annotation.template=own",  # which the truthful annotator reads
    # float64: rounding differs with the batch, and an interrupted run batches otherwise than an undisturbed one
    "serving.dtype=float64",
)
_TEXTS = re.compile(r"<(?:instruction|output|response)[^>]*>\n(.*?)\n</", re.DOTALL)
CERTAIN = 20.0  # nats between the two identifiers where one output is better


@dataclass(frozen=True)
class SmallWorld:
    """The path of the recipe, and the URL of an annotator that knows the truth."""

    recipe: Path
    annotator: str


@contextmanager
def make_small_world(folder: Path) -> Iterator[SmallWorld]:
    """The world's files below `folder`; its annotator answers while the context lasts."""
    with served(truthful_annotator()) as url:
        yield SmallWorld(write_small_world(folder), url)


def write_small_world(folder: Path) -> Path:
    """Write model, data, instructions with reference outputs and recipe below `folder`; returns the recipe's path."""
    from examples.world.model import write_model  # with transformers: five seconds of every start of pytest

    make_world(folder, SEED, SIZES)
    shutil.rmtree(folder / "model")
    write_model(folder / "model", SEED, heads=3)  # of 32, the least that vLLM computes on a CPU
    questions = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    entries = [instruction(n, one["prompt"], one["answer"]) for n, one in enumerate(questions)]
    (folder / "instructions.json").write_text(json.dumps(entries))
    path = folder / "small-world.yaml"
    recipe = load_recipe("world", [*overrides(folder), *small_settings(folder), "name=small-world"])
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    return path


def store_small_world(folder: Path, store: str) -> Path:
    """The same, with all files but the recipe in an S3 store, where pods find them."""
    recipe = write_small_world(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != recipe:
            open_store(store).upload(path, str(path.relative_to(folder)))
    recipe.write_text(recipe.read_text().replace(str(folder), store))
    return recipe


def small_settings(folder: Path) -> tuple[str, ...]:
    """What differs from the shipped recipe, for the world below `folder`."""
    return (f"instructions.reference={folder / 'instructions.json'}", *SETTINGS)


def instruction(number: int, prompt: str, right: str) -> dict[str, str]:
    """An entry in AlpacaEval's form. Every other reference output is right, the others have the slip; they differ in
    length and are neither better nor worse for it, so that there is a length to control for."""
    output = right if number % 2 else slip(right)
    return {"instruction": prompt, "dataset": "world", "output": "=" * (number % 3) + output, "generator": "people"}


def truthful_annotator() -> Script:
    """Prefers the answer with the higher true score, in both of the product's forms of the question."""
    return Script(lambda _, body: verdict(body["messages"][-1]["content"]))


def verdict(question: str) -> tuple[int, dict[str, Any]]:
    if not (texts := _TEXTS.findall(question)):
        return said(
            "I compare answers."
        )  # to the one question before any work that finds out whether somebody is there
    asked, *answers = texts
    first, second = (true_score(asked, one.strip().lstrip("=")) for one in answers)
    if "Verdict:" in question:
        return said(f"Verdict: {'tie' if first == second else 'A' if first > second else 'B'}")
    gap = CERTAIN * ((first > second) - (first < second))  # of the log-probabilities
    log_m, log_other = (-math.log1p(math.exp(-one)) for one in (gap, -gap))
    return said("m" if gap > 0 else "M", logprobs=[("m", log_m), ("M", log_other)])
