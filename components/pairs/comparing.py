"""Texts compared two by two by the judge, in both orders: what it is asked, and how often each text wins.

Only what both orders agree on is a vote, as a judge may prefer a place and no text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from components.core.hashing import seed_from
from components.core.records import Candidate, Counts, Manifest, PairwiseJudgement
from components.core.stage import Stage, parent, read_records
from components.evaluation.alpaca_eval.verdicts import parse_verdict
from components.judging.prompt import neutralise, transcript
from components.pairs.scores import Score
from components.pairs.settings import SLOTS, ComparingSettings
from components.serving.answers import unanswered
from components.serving.client import Completion, Request
from components.serving.completions import Batch, Endpoint, answering_model, complete


@dataclass(frozen=True)
class Contest:
    """Different texts by id, all of them about one instruction, to be compared each with each other."""

    instruction: str
    texts: Mapping[str, str]


def compare_candidates(
    root: str,
    settings: ComparingSettings,
    model: str,
    candidates: str,
    endpoint: Endpoint,
    other: Endpoint | None = None,
) -> Manifest:
    """The pairwise_judging stage: N (N - 1) comparisons of N different answers to a prompt, by Mt or another judge."""
    inputs = {"candidates": parent(candidates)}
    inputs["judge"] = answering_model("" if other else model, other or endpoint)
    stage = Stage(root, "pairwise_judging", settings, inputs)
    if stage.manifest:
        return stage.manifest
    groups = _same_texts(read_records(candidates, "candidates", Candidate)).values()
    contests = []
    for texts in groups:
        different = [same[0] for same in texts.values()]
        asked = transcript(different[0].history, different[0].prompt)
        contests.append(Contest(asked, {one.id: one.text for one in different}))
    return publish_comparisons(stage, settings, contests, other or endpoint)


def publish_comparisons(
    stage: Stage, settings: ComparingSettings, contests: Sequence[Contest], endpoint: Endpoint
) -> Manifest:
    """Ask, and publish the answers as they are; the counts are of two texts in both orders."""
    made = complete(stage, endpoint, comparisons_of(contests, settings))
    _, without = standings(made)
    compared = {frozenset((one.first, one.second)) for one in made}
    counts = Counts(kept={"comparisons": len(compared) - without.total()}, dropped=dict(without))
    return stage.publish(counts, {"comparisons": made}, tokens=sum(one.tokens for one in made))


def comparisons_of(contests: Iterable[Contest], settings: ComparingSettings) -> Batch[PairwiseJudgement]:
    """Every two texts of each contest, in both orders."""
    by_id = {f"{a}|{b}": (contest, a, b) for contest in contests for a, b in permutations(contest.texts, 2)}
    sampling, requests = settings.sampling(), []
    for id, (contest, first, second) in by_id.items():
        prompt = fill(settings.prompt, contest.instruction, contest.texts[first], contest.texts[second])
        seed = seed_from(settings.seed, "comparison", id)
        requests.append(Request(id, [{"role": "user", "content": prompt}], sampling, seed))

    def make(request: Request, answer: Completion) -> PairwiseJudgement:
        _, first, second = by_id[request.id]
        missing = unanswered(answer.finish_reason)
        verdict = None if missing else parse_verdict(answer.text, cut=answer.finish_reason == "length")
        return PairwiseJudgement(
            id=request.id,
            first=first,
            second=second,
            completion=answer.text,
            finish_reason=answer.finish_reason,
            verdict=verdict,
            unparsed=None if verdict else f"judge {missing}" if missing else "no verdict",
            seed=request.seed,
            tokens=answer.tokens,
        )

    return Batch("comparisons", PairwiseJudgement, requests, make, settings.concurrency)


def fill(template: str, instruction: str, first: str, second: str) -> str:
    """The prompt for two texts. All three are untrusted: none can write a tag that closes a slot of the template."""
    tags = "|".join(map(re.escape, set(re.findall(r"</([^<>\s/]+)>", template)))) or "(?!)"
    tag = re.compile(rf"<(?=\s*+/?\s*+(?:{tags}))", re.IGNORECASE)
    slots = dict(zip(SLOTS, (instruction, first, second), strict=True))
    # one pass over the template: a slot's name inside a text is left alone
    return re.sub(rf"\{{({'|'.join(SLOTS)})\}}", lambda slot: tag.sub("&lt;", neutralise(slots[slot[1]])), template)


def standings(comparisons: Iterable[PairwiseJudgement]) -> tuple[dict[str, Score], Counter[str]]:
    """Wins less losses by text (Copeland's score), and why two texts have no winner.

    A text is absent where no comparison of it has a verdict in both orders. In a round robin Bradley-Terry's model,
    Elo's, ranks in the same order, with a draw where there is no winner.
    """
    winners: dict[tuple[str, str], list[str | None]] = {}
    for one in comparisons:
        winner = {"first": one.first, "second": one.second, "tie": ""}.get(one.verdict or "")
        winners.setdefault((min(one.first, one.second), max(one.first, one.second)), []).append(winner)
    won: Counter[str] = Counter()
    votes: Counter[str] = Counter()
    without: Counter[str] = Counter()
    for two, found in winners.items():
        if None in found:
            without["comparison: no verdict in both orders"] += 1
            continue
        votes.update(two)
        if len(set(found)) > 1:
            without["comparison: the orders disagree"] += 1
        elif not found[0]:
            without["comparison: tie"] += 1
        else:
            won.update({id: 1 if id == found[0] else -1 for id in two})
    return {id: Score(float(won[id]), number) for id, number in votes.items()}, without


def compared_scores(candidates: Iterable[Candidate], comparisons: Iterable[PairwiseJudgement]) -> dict[str, Score]:
    """By candidate id. Candidates of equal text share a score; where a prompt has but one text, it is 0 unasked."""
    found, _ = standings(comparisons)
    scores: dict[str, Score] = {}
    for texts in _same_texts(candidates).values():
        for same in texts.values():
            score = Score(0.0, 0) if len(texts) == 1 else found.get(same[0].id)
            if score:
                scores |= {one.id: score for one in same}
    return scores


def _same_texts(candidates: Iterable[Candidate]) -> dict[str, dict[str, list[Candidate]]]:
    """Whole candidates by prompt id and by their words."""
    groups: dict[str, dict[str, list[Candidate]]] = {}
    for one in candidates:
        if one.finish_reason == "stop" and one.text:
            groups.setdefault(one.prompt_id, {}).setdefault(" ".join(one.text.split()), []).append(one)
    return groups
