"""Novelty: new prompts held against those that were accepted, beside rouge_score as Self-Instruct uses it.

Counted are seconds of CPU: one thread computes, and others on the machine make none of these longer."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from components.prompts.filters import NoveltyPool
from tests.benchmarks.row import Row

THRESHOLD = 0.7
WORDS = 30_000
MEASURED = 5000  # prompts at most


def made_prompts(count: int, seed: int = 0) -> list[str]:
    """Prompts of 4 to 150 words (median 16, as OpenAssistant's) by Zipf's law; one in seven is another one with 5 to
    50 % of its words changed, so that some are too close and some nearly are."""
    numbers, draw = np.random.default_rng(seed), random.Random(seed)
    shares = 1 / (np.arange(WORDS) + 2.7) ** 1.05
    lengths = np.clip(np.exp(numbers.normal(np.log(16), 0.9, count)).round().astype(int), 4, 150)
    drawn = iter(numbers.choice(WORDS, size=int(lengths.sum()), p=shares / shares.sum()).tolist())
    prompts: list[str] = []
    for length in lengths.tolist():
        words = [f"w{next(drawn)}" for _ in range(length)]
        if prompts and draw.random() < 1 / 7:
            words = draw.choice(prompts).split()
            for place in draw.sample(range(len(words)), int(len(words) * draw.uniform(0.05, 0.5))):
                words[place] = f"w{draw.randrange(WORDS)}"
        prompts.append(" ".join(words))
    draw.shuffle(prompts)
    return prompts


def decisions(old: list[str], new: list[str]) -> tuple[list[bool], float]:
    """Ours: whether each new prompt is novel among the old ones, and the seconds for as many new as old ones."""
    begun = time.process_time()
    pool = NoveltyPool(old, THRESHOLD)
    built = time.process_time()
    decided = [pool.is_novel(text) for text in new]
    return decided, built - begun + (time.process_time() - built) * len(old) / len(new)


def by_rouge_score(old: list[str], new: list[str]) -> list[bool]:
    """The same by comparing each with all."""
    scorer = RougeScorer(["rougeL"])
    return [all(scorer.score(text, other)["rougeL"].fmeasure <= THRESHOLD for other in old) for text in new]


def rows(quick: bool) -> list[Row]:
    """N against N. Where that is too long some of the N are measured, and their time multiplied."""
    made: list[Row] = []
    for count in (1000, 3000, 10_000) if quick else (1000, 3000, 10_000, 30_000, 100_000):
        prompts = made_prompts(2 * count)
        old, new = prompts[:count], prompts[count:][:MEASURED]
        decided, seconds = decisions(old, new)
        growth = _growth(made, count, seconds)
        row = Row(
            f"novelty of {count:,} prompts among {count:,}", "s of CPU", seconds, less_is_better=True, note=growth
        )
        made.append(beside_rouge_score(row, old, new[: 2 if quick else 20], decided) if count == 10_000 else row)
    return made


def beside_rouge_score(row: Row, old: list[str], new: list[str], ours: list[bool]) -> Row:
    """Raises AssertionError where a decision on the new prompts differs from ours."""
    begun = time.process_time()
    assert by_rouge_score(old, new) == ours[: len(new)]
    seconds = (time.process_time() - begun) * len(old) / len(new)
    note = f"{row.note}; rouge_score decided {len(new)} of them alike, its time is multiplied"
    return replace(row, other_name="rouge_score", other=seconds, of_other=100, note=note)


def _growth(before: list[Row], count: int, seconds: float) -> str:
    """The exponent since the row before: 2 would be quadratic."""
    if not before:
        return ""
    earlier = int(before[-1].part.rpartition(" ")[2].replace(",", ""))
    return f"grows as n^{np.log(seconds / before[-1].ours) / np.log(count / earlier):.2f}"
