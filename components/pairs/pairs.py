"""Best against worst: one preference pair a prompt, or the reason why there is none."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from itertools import chain
from statistics import fmean
from typing import Any

from components.core.context import open_step
from components.core.errors import UserError
from components.core.progress import warn
from components.core.record_table import RecordTable
from components.core.records import Candidate, Counts, Example, Judgement, Manifest, Pair, PairwiseJudgement, Question
from components.core.stage import Stage, each_record, parent, read_manifest, read_records
from components.pairs.asking import ask_besides
from components.pairs.comparing import compared_scores
from components.pairs.meta_judge import judgement_pairs, read_judged
from components.pairs.scores import Score, checked_scores, consistency, count_votes, shuffle_scores
from components.pairs.selection import FIRST, human_pairs, select_pairs
from components.pairs.settings import PairsSettings


def pair_candidates(before: dict[str, Any]) -> str:
    """Pairs of the candidates and judgements of the model in the state `before`; returns their URI."""
    name, judged = before["name"], (before["candidates"], before["judgements"])
    with open_step(before["run"], f"pair {name.upper()}'s answers") as context:
        settings = context.section("pairs", PairsSettings).of_round(int(name[1:]))
        besides = ask_besides(context, before, settings)
        return context.make(f"{name}/pairs", lambda: make_pairs(context.store, settings, *judged, besides))


def make_pairs(
    root: str, settings: PairsSettings, candidates: str, judgements: str, besides: Mapping[str, str] | None = None
) -> Manifest:
    """The pairs stage; raises UserError with the reasons when fewer than `min_pairs` are left.

    `besides` are URIs by role of what the settings ask for (asking.py).
    """
    given = {"candidates": candidates, "judgements": judgements, **(besides or {})}
    stage = Stage(root, "pairs", settings, {role: parent(uri) for role, uri in given.items()})
    if stage.manifest:
        return stage.manifest
    metrics: dict[str, float] = {}
    if settings.human_rounds:
        examples = each_record(given["human"], "ift", Example)
        pairs, dropped = human_pairs(examples, each_record(given["human_answers"], "candidates", Candidate))
    else:
        pairs, dropped, metrics = _judged_pairs(settings, given)
    if len(pairs) < settings.min_pairs:
        asked = sum(1 for _ in each_record(given.get("human_answers", candidates), "candidates", Candidate))
        smaller = ", a smaller pairs.min_gap" if settings.min_gap else ""
        raise UserError(
            f"{len(pairs)} preference pairs are left of {asked} candidates, {settings.min_pairs} are needed "
            f"({', '.join(f'{n} {reason}' for reason, n in dropped.items())})",
            "Use more prompts (prompts.count), a longer sampling.max_tokens or judging.max_tokens"
            f"{smaller}, or a better judge.",
        )
    metrics |= _metrics(pairs.values())
    kept = {"pairs": len(pairs)}
    if settings.meta_judge:
        judged = read_judged(candidates, judgements, settings.meta_judge.seed)
        made = each_record(given["meta_judgements"], "comparisons", PairwiseJudgement)
        of_judgements, reasons = judgement_pairs(judged, made, settings.meta_judge, len(pairs))
        pairs.add(of_judgements)
        dropped, kept["pairs of judgements"] = dropped + reasons, len(of_judgements)
    return stage.publish(Counts(kept=kept, dropped=dict(dropped)), {"pairs": pairs.values()}, metrics=metrics)


def _judged_pairs(
    settings: PairsSettings, given: Mapping[str, str]
) -> tuple[RecordTable[Pair], Counter[str], dict[str, float]]:
    """Pairs of what was judged or checked, what was dropped, and by CREAM how consistent two judges are."""
    sampled = RecordTable(Candidate, each_record(given["candidates"], "candidates", Candidate)).values()
    scores: MutableMapping[str, Score]
    if settings.comparisons:
        scores = compared_scores(sampled, each_record(given["comparisons"], "comparisons", PairwiseJudgement))
    else:
        scores = _votes(given["judgements"], settings)
    if settings.shuffle_scores:
        warn("pairs.shuffle_scores: a control experiment, scores are dealt out at random among the candidates")
        scores = shuffle_scores(scores, settings.seed)
    found, dropped = None, Counter[str]()
    if settings.consistency:  # of judgements: what is checked below is ranked by no judge
        found, dropped = consistency(sampled, scores, _votes(given["previous_judgements"], settings))
    first: list[Candidate] = []
    if settings.rejected_from == "first":
        answered = read_records(given["first_candidates"], "candidates", Candidate)
        first = [one.model_copy(update={"id": FIRST + one.id}) for one in answered]
        scores.update((FIRST + id, score) for id, score in _votes(given["first_judgements"], settings).items())
    if settings.exact_answers:
        judging = read_manifest(given["judgements"]).settings
        questions = read_records(given["questions"], "questions", Question)
        scale = (float(judging["lowest"]), float(judging["highest"]))
        scores.update(checked_scores(chain(sampled, first), questions, settings.exact_answers.pattern, scale))
    pairs, reasons = select_pairs(sampled, scores, settings, first)
    if found is None:
        return pairs, reasons + dropped, {}
    doubted = (pair.model_copy(update={"doubt": 1 - found}) for pair in pairs.values())
    return RecordTable(Pair, doubted), reasons + dropped, {"consistency": found}


def _votes(judgements: str, settings: PairsSettings) -> MutableMapping[str, Score]:
    return count_votes(each_record(judgements, "judgements", Judgement), settings.score == "majority")


def _metrics(pairs: Iterable[Pair]) -> dict[str, float]:
    """Lengths are in characters: chosen answers that grow are the first sign of reward hacking.

    Of pairs that nobody scored, gap and votes are unknown and so absent.
    """
    metrics = {
        "chosen_length": fmean(len(pair.chosen) for pair in pairs),
        "rejected_length": fmean(len(pair.rejected) for pair in pairs),
    }
    known = {"score_gap": array("d"), "chosen_votes": array("d"), "rejected_votes": array("d")}
    for pair in pairs:
        if pair.chosen_score is not None and pair.rejected_score is not None:
            known["score_gap"].append(pair.chosen_score - pair.rejected_score)
        if pair.chosen_votes is not None:
            known["chosen_votes"].append(pair.chosen_votes)
        if pair.rejected_votes is not None:
            known["rejected_votes"].append(pair.rejected_votes)
    return metrics | {name: fmean(values) for name, values in known.items() if values}
