"""A run whose M2 learnt from 48 preferences of M1, to be labelled by people.

M1 judged two answers to each of 60 prompts, twice each. On prompts 0 to 39 it scored them 4 and 2, clearly; on 40 to 47
the same, but one judgement had no score (in dispute); on 48 to 59 both 3, which is a tie and no pair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.core.context import RunContext
from components.core.journal import read_journal
from components.core.records import Candidate, Judgement, Pair
from tests.helpers.finished_run import HOSTILE, made, make_finished_run

CLEAR, DISPUTED, TIED = 40, 8, 12
PROMPTS = CLEAR + DISPUTED + TIED


def make_reviewed_run(store: Path, **changes: Any) -> RunContext:
    context = make_finished_run(store, **changes)
    answers = [_candidate(prompt, n) for prompt in range(PROMPTS) for n in range(2)]
    model = next(one["uri"] for one in read_journal(context.store, context.run, "stages") if one["name"] == "m1/sft")
    sampling = made(context, "m1/sampling", {"candidates": answers}, None, None, model)
    judgements = [_judgement(prompt, n, k) for prompt in range(PROMPTS) for n in range(2) for k in range(2)]
    made(context, "m1/judging", {"judgements": judgements}, None, None, sampling)
    pairs = [_pair(prompt) for prompt in range(CLEAR + DISPUTED)]
    made(context, "m1/pairs", {"pairs": pairs}, None, {"chosen_length": 5.0, "rejected_length": 5.0}, sampling)
    return context


def _candidate(prompt: int, n: int) -> Candidate:
    told = {"finish_reason": "stop", "seed": n, "tokens": 1, "prompt_id": f"q{prompt}"}
    return Candidate(id=f"q{prompt}/{n}", prompt=f"question {prompt} {HOSTILE}", text=f"answer {prompt}/{n}", **told)


def _judgement(prompt: int, n: int, k: int) -> Judgement:
    score = 3.0 if prompt >= CLEAR + DISPUTED else (4.0, 2.0)[n]
    if CLEAR <= prompt < CLEAR + DISPUTED and k:
        return _said(prompt, n, k, None)
    return _said(prompt, n, k, score)


def _said(prompt: int, n: int, k: int, score: float | None) -> Judgement:
    told = {"finish_reason": "stop", "judge_prompt": "x", "seed": k, "tokens": 1, "completion": f"words {HOSTILE}"}
    unparsed = None if score is not None else "no score"
    id = f"q{prompt}/{n}"
    return Judgement(id=f"{id}/{k}", candidate_id=id, prompt_id=f"q{prompt}", score=score, unparsed=unparsed, **told)


def _pair(prompt: int) -> Pair:
    texts = {"chosen": f"answer {prompt}/0", "rejected": f"answer {prompt}/1"}
    ids = {"chosen_id": f"q{prompt}/0", "rejected_id": f"q{prompt}/1", "chosen_score": 4, "rejected_score": 2}
    return Pair(id=f"q{prompt}", prompt=f"question {prompt} {HOSTILE}", **texts, **ids)
