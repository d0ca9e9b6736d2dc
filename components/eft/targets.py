"""Judgements that the judge is to learn to write: those of a model where they agree with the humans (Yuan et al. 2024,
section 3.1.1), and the cap on how often each score may occur among them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import fmean
from typing import NamedTuple

from components.core.hashing import content_hash
from components.core.records import Judgement, SeedPrompt
from components.core.texts import word_count
from components.judging.parser import BUILT_IN_FORMAT, ScoreFormat, parse_score
from components.judging.prompt import transcript

# A score without reasons before it is a poor thing to learn (the reasons come first in the judge prompt).
FEWEST_WORDS = 8


@dataclass(frozen=True)
class Target:
    """The judgement of one reply to one prompt: reasoning, then the score's line. `id` is the reply's.

    `instruction` is what the judge is shown of the prompt (`transcript`).
    """

    id: str
    instruction: str
    response: str
    judgement: str
    score: float


@dataclass
class Accepted:
    """The targets, the ids of the prompts that they come from, and what was dropped by reason."""

    targets: list[Target] = field(default_factory=list)
    prompts: set[str] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)


class Sample(NamedTuple):
    """A judgement that is fit to be learned, with its score."""

    score: float
    text: str


def accept(
    prompts: Sequence[SeedPrompt], judgements: Sequence[Judgement], score_format: ScoreFormat = BUILT_IN_FORMAT
) -> Accepted:
    """One target a reply, of the prompts where one sample a reply can be chosen so that the scores fall in human order.

    What is compared with the humans is what is learned: the scores of the targets of a prompt differ and fall from its
    best reply to its worst.
    """
    samples: dict[str, list[Sample]] = {}
    for judgement in judgements:
        if fit := fit_to_learn(judgement, score_format):
            samples.setdefault(judgement.candidate_id, []).append(fit)
    accepted = Accepted()
    for prompt in prompts:
        by_reply = [samples.get(reply.id, []) for reply in prompt.replies]
        chosen = in_human_order(by_reply)
        if chosen is None:
            accepted.dropped[f"prompt: {_disagreement(by_reply)}"] += 1
            continue
        accepted.prompts.add(prompt.id)
        asked = transcript(prompt.history, prompt.text)
        for reply, sample in zip(prompt.replies, chosen, strict=True):
            accepted.targets.append(Target(reply.id, asked, reply.text, sample.text, sample.score))
    return accepted


def fit_to_learn(judgement: Judgement, score_format: ScoreFormat = BUILT_IN_FORMAT) -> Sample | None:
    """The sample if it is whole, gives reasons and ends on its score: what follows the score would be learned too."""
    text = judgement.completion.strip()
    ends_on = parse_score((text.splitlines() or [""])[-1], score_format=score_format).value
    if judgement.score is None or judgement.finish_reason != "stop" or ends_on != judgement.score:
        return None
    return Sample(judgement.score, text) if word_count(text) >= FEWEST_WORDS else None


def in_human_order(by_reply: Sequence[Sequence[Sample]], ties: bool = False) -> list[Sample] | None:
    """One sample a reply (best reply first) with strictly falling scores; None where there is no such choice.

    Of several choices the one whose scores are nearest to the means of their replies' samples: what the model thinks as
    a rule, not what it once happened to say. `ties` allows equal scores.
    """
    paths: list[tuple[float, list[Sample]]] = [(0.0, [])]  # the nearest choice so far that ends on each sample
    for samples in by_reply:
        mean = fmean(sample.score for sample in samples) if samples else 0.0
        longer = []
        for sample in samples:
            least = sample.score if ties else math.nextafter(sample.score, math.inf)
            before = [path for path in paths if not path[1] or path[1][-1].score >= least]
            if before:
                distance, path = min(before, key=lambda one: one[0])
                longer.append((distance + abs(sample.score - mean), [*path, sample]))
        paths = longer
    return min(paths, key=lambda one: one[0])[1] if paths else None


def _disagreement(by_reply: Sequence[Sequence[Sample]]) -> str:
    """Why no choice is in human order."""
    if not all(by_reply):
        return "a reply has no judgement that gives reasons and ends on its score"
    return "scores tie" if in_human_order(by_reply, ties=True) else "scores disagree with the human order"


def cap_classes(
    targets: Sequence[Target],
    share: float,
    seed: int,
    score_format: ScoreFormat = BUILT_IN_FORMAT,
    most: int | None = None,
) -> list[Target]:
    """The largest selection, in the given order, in which no score class has more than `share` of the whole.

    With `most` it has at most so many targets, and no class more than `share` of those.

    A class is a point of the scale with the scores nearest to it. Which targets of too large a class stay is decided by
    a hash of seed and id. With fewer classes than 1 / share no selection can hold, and the result is empty.
    """
    classes = {target.id: score_format.nearest(target.score) for target in targets}
    limit = class_limit(Counter(classes.values()), share)
    if most is not None:
        limit = min(limit, int(Fraction(str(share)) * most))
    room = dict.fromkeys(score_format.points, limit)
    kept: set[str] = set()
    for target in sorted(targets, key=lambda target: content_hash([seed, target.id])):
        if room[classes[target.id]] and (most is None or len(kept) < most):
            room[classes[target.id]] -= 1
            kept.add(target.id)
    return [target for target in targets if target.id in kept]


def class_limit(sizes: Counter[float], share: float) -> int:
    """The largest m for which min(size, m) over the classes adds up to at least m / share; 0 where there is none.

    The sum grows ever more slowly with m, so that from the first m that fails all larger ones do.
    """
    exact = Fraction(str(share))  # 0.4 of 5 is 2, not 2 and a rounding error
    limit = 0
    for larger in range(1, max(sizes.values(), default=0) + 1):
        if larger > exact * sum(min(size, larger) for size in sizes.values()):
            break
        limit = larger
    return limit
