"""The summary of a run: its models with their figures and verdicts, its rounds, its drift, its stages.

Drift is what changes from model to model: the judge's health, lengths, novelty, and what length alone wins.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.core.journal import read_journal
from components.core.store import join, open_store
from components.run.ledger import ledger
from components.seed_data.contamination import HELD_OUT, TOO_CLOSE

Metrics = Mapping[str, float]
BASELINES = ("m0", "sft")  # what a run starts from

# What is compared with the evaluation texts, by the name of its stage without the model's.
COMPARED = {"seed-data": "seed data", "eft": "EFT examples", "prompts": "new prompts"}


def summarise(root: str, run: str) -> dict[str, Any]:
    """Write and return the summary, as `<root>/runs/<run>/summary.json`."""
    summary = summary_of(root, run)
    open_store(join(root, "runs", run)).write("summary.json", json.dumps(summary, indent=1).encode())
    return summary


def summary_of(root: str, run: str) -> dict[str, Any]:
    """The summary of the run as its journal is now, at its end or before."""
    models, stages = (
        [{key: value for key, value in entry.items() if key != "started"} for entry in read_journal(root, run, kind)]
        for kind in ("models", "stages")
    )
    reviewed = {stage["name"]: stage["metrics"] for stage in stages}
    for model in models:  # people may have said something of it since it was measured
        model["metrics"] = model["metrics"] | reviewed.get(f"{model['name']}/review", {})
    models.sort(key=lambda model: _order(model["name"]))
    judged = rounds(stages)
    return {
        "run": run,
        "models": models,
        "rounds": judged,
        "drift": drift(models, judged),
        "contamination": contamination(stages),
        "stopped_by": next((model["name"] for model in models if model["verdict"] == "stop"), None),
        "stages": stages,
        "ledger": ledger(root, run, stages),
    }


def rounds(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The figures of each round's prompts, judgements and pairs, by the model that judged it."""
    metrics: dict[str, dict[str, float]] = {}
    for stage in stages:
        name, _, kind = stage["name"].partition("/")
        if kind in ("prompts", "judging", "pairs"):
            metrics.setdefault(name, {}).update(stage["metrics"])
        if kind == "pairs":
            metrics[name]["pairs"] = stage["counts"]["kept"]["pairs"]
    return [{"name": name, "metrics": metrics[name]} for name in sorted(metrics, key=_order)]


def contamination(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry an evaluation set: its texts, and what was too close to them and dropped, by what it was dropped from.

    Empty where nothing was compared.
    """
    texts: dict[str, int] = {}
    dropped: dict[str, Counter[str]] = {}
    for stage in stages:
        counts = stage["counts"]
        if stage["name"] == "evaluation-texts":
            texts |= counts["kept"]
        elif stage["name"] == "seed-data":
            texts[HELD_OUT] = counts["kept"]["eval"]
        source = COMPARED.get(stage["name"].rpartition("/")[2])
        for reason, number in counts["dropped"].items():
            _, found, name = reason.partition(TOO_CLOSE)
            if found and source:
                dropped.setdefault(name, Counter())[source] += number
    made = {stage["name"].rpartition("/")[2] for stage in stages}
    if "evaluation-texts" not in made:
        return []
    sources = [source for kind, source in COMPARED.items() if kind in made]
    return [
        {"set": name, "texts": number, "dropped": {source: dropped.get(name, Counter())[source] for source in sources}}
        for name, number in texts.items()
    ]


def _order(name: str) -> int:
    """M0 and the SFT baseline before M1, M2, ..."""
    return BASELINES.index(name) - len(BASELINES) if name in BASELINES else int(name.removeprefix("m"))


def _metric(name: str) -> Callable[[Metrics], float | None]:
    return lambda metrics: metrics.get(name)


def _length_advantage(metrics: Metrics) -> float | None:
    """How much of the win rate length alone explains."""
    if "win_rate" not in metrics or "lc_win_rate" not in metrics:
        return None
    return metrics["win_rate"] - metrics["lc_win_rate"]


def _score_deviation(metrics: Metrics) -> float | None:
    """The standard deviation of K scores of one text."""
    variance = metrics.get("round_score_variance")
    return None if variance is None else math.sqrt(variance)


# Known failure modes of the method, each with where it shows first: figure, value, whether it is a share.
FIGURES: tuple[tuple[str, Callable[[Metrics], float | None], bool], ...] = (
    ("agreement with people", _metric("pairwise_accuracy"), True),
    ("agreement with people's labels (srlm review)", _metric("human_agreement"), True),
    ("judgements parsed (human replies)", _metric("parse_rate"), True),
    ("judgements parsed (own candidates)", _metric("round_parse_rate"), True),
    ("entropy of its scores, bits", _metric("round_score_entropy"), False),
    ("prompts with one score for all candidates", _metric("round_score_tie_rate"), True),
    ("spread of K judgements of one text", _score_deviation, False),
    ("correlation of score and length", _metric("round_score_length_correlation"), False),
    ("novelty of the prompts", _metric("prompt_novelty"), False),
    ("pairs", _metric("pairs"), False),
    ("chosen, mean characters", _metric("chosen_length"), False),
    ("rejected, mean characters", _metric("rejected_length"), False),
    ("answers, mean characters", _metric("answer_length"), False),
    ("win rate less LC win rate", _length_advantage, True),
    ("right answers (sampled)", _metric("exact_answers"), True),
)


def drift(models: Sequence[Mapping[str, Any]], rounds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a figure that is known of any model: its values by model, and the change from the first to the last.

    M0 and the SFT baseline are left out: they are no judges yet, and the rounds start from M1. `change` is None where
    fewer than two models have the figure.
    """
    measured = {model["name"]: dict(model["metrics"]) for model in models if model["name"] not in BASELINES}
    for judged in rounds:
        measured.setdefault(judged["name"], {}).update(judged["metrics"])
    entries = []
    for label, figure, share in FIGURES:
        values = {name: figure(metrics) for name, metrics in measured.items()}
        known = [value for value in values.values() if value is not None]
        change = known[-1] - known[0] if len(known) > 1 else None
        if known:
            entries.append({"figure": label, "share": share, "values": values, "change": change})
    return entries
