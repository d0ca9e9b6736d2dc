"""Pairs of judgements: the model compares its own, so that it learns to judge, too (Wu et al. 2024, 2407.19594)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import pvariance

from components.core.hashing import content_hash
from components.core.records import Candidate, Judgement, Manifest, Pair, PairwiseJudgement
from components.core.stage import Stage, parent, read_manifest, read_records
from components.judging.rubrics import judged_instruction, read_rubrics
from components.judging.settings import JudgingSettings
from components.pairs.comparing import Contest, publish_comparisons, standings
from components.pairs.settings import MetaJudgeSettings
from components.serving.completions import Endpoint

JUDGED = "judgement/"  # before the id of an answer whose judgements are paired


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer with its different judgements; `asked` is what the judge was asked, `variance` that of their scores."""

    id: str
    asked: str
    judgements: Mapping[str, str]
    variance: float


def compare_judgements(
    root: str, settings: MetaJudgeSettings, model: str, candidates: str, judgements: str, endpoint: Endpoint
) -> Manifest:
    """The meta_judging stage: of K different judgements of an answer K (K - 1) comparisons, an answer a prompt."""
    inputs = {role: parent(uri) for role, uri in (("judgements", judgements), ("candidates", candidates))}
    stage = Stage(root, "meta_judging", settings.asking(), inputs | {"judge": parent(model)})
    if stage.manifest:
        return stage.manifest
    contests = [Contest(one.asked, one.judgements) for one in read_judged(candidates, judgements, settings.seed)]
    return publish_comparisons(stage, settings, contests, endpoint)


def read_judged(candidates: str, judgements: str, seed: int) -> list[JudgedAnswer]:
    """Of two finished stages; the judge prompt is that of the judgements."""
    known = read_manifest(judgements)
    prompt = JudgingSettings(prompt=known.settings["prompt"]).judge_prompt()
    rubrics = read_rubrics(known.parents["rubrics"].uri if "rubrics" in known.parents else "")
    answers = {one.id: one for one in read_records(candidates, "candidates", Candidate)}

    def asked(id: str) -> str:
        return prompt.fill(judged_instruction(answers[id], rubrics), answers[id].text)

    return most_disputed(read_records(judgements, "judgements", Judgement), asked, seed)


def most_disputed(judgements: Iterable[Judgement], asked: Callable[[str], str], seed: int) -> list[JudgedAnswer]:
    """Of each prompt the answer whose scores vary most (a hash decides among equals), the most varied of all first.

    It has two different judgements with a score, or more. `asked` says by candidate id what the judge was asked.
    """
    by_answer: dict[tuple[str, str], list[Judgement]] = {}
    for one in judgements:
        if one.score is not None and one.finish_reason == "stop":
            by_answer.setdefault((one.prompt_id, one.candidate_id), []).append(one)
    chosen: dict[str, tuple[float, str, str]] = {}  # by prompt: variance, hash, answer
    for (prompt, id), own in by_answer.items():
        if len({one.completion.strip() for one in own}) > 1:
            variance = pvariance([one.score for one in own if one.score is not None])
            found = (variance, content_hash([seed, "judgements", id]), id)
            chosen[prompt] = max(found, chosen.get(prompt, found))
    judged = []
    for prompt, (variance, _, id) in sorted(chosen.items(), key=lambda one: one[1], reverse=True):
        different = {one.completion.strip(): one.id for one in reversed(by_answer[prompt, id])}
        judged.append(JudgedAnswer(id, asked(id), {id: text for text, id in reversed(different.items())}, variance))
    return judged


def judgement_pairs(
    judged: Sequence[JudgedAnswer],
    comparisons: Iterable[PairwiseJudgement],
    settings: MetaJudgeSettings,
    answer_pairs: int,
) -> tuple[list[Pair], Counter[str]]:
    """The judgement that wins most against the one that wins least, of each answer that was judged.

    Beside `answer_pairs` of answers there are so many of judgements that they are at most `share` of all, first those
    of the answers whose scores vary most. A chosen one may not be too long: a judge of judgements likes length.
    """
    found, _ = standings(comparisons)
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    most = int(settings.share / (1 - settings.share) * answer_pairs + 1e-9)
    for one in judged:
        known = sorted(
            (id for id in one.judgements if id in found),
            key=lambda id: (found[id].value, content_hash([settings.seed, "judgement", id])),
        )
        if not known or found[known[0]].value == found[known[-1]].value:
            dropped["judgements: none is preferred"] += 1
        elif len(one.judgements[known[-1]]) > settings.max_characters:
            dropped["judgements: the preferred one is too long"] += 1
        elif len(pairs) >= most:
            dropped["judgements: more than their share of the pairs"] += 1
        else:
            pairs.append(
                Pair(
                    id=JUDGED + one.id,
                    prompt=one.asked,
                    chosen=one.judgements[known[-1]],
                    rejected=one.judgements[known[0]],
                    chosen_id=known[-1],
                    rejected_id=known[0],
                    chosen_score=None,
                    rejected_score=None,
                )
            )
    return pairs, dropped
