"""Judgements that the judge is to learn to write: those of a model where they agree with the humans (Yuan et al. 2024,
section 3.1.1), and the cap on how often each score may occur among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from components.core.hashing import content_hash
from components.core.records import Judgement, Reply, SeedPrompt
from components.core.texts import word_count
from components.judging.judging import mean_scores
from components.judging.parser import BUILT_IN_FORMAT, ScoreFormat, parse_score

# Means of K scores are sums of floats; different ones are at least 1/K of a score's step apart.
TOLERANCE = 1e-6
# A score without reasons before it is a poor thing to learn (the reasons come first in the judge prompt).
FEWEST_WORDS = 8


@dataclass(frozen=True)
class Target:
    """The judgement of one reply to one prompt: reasoning, then the score's line. `id` is the reply's."""

    id: str
    instruction: str
    response: str
    judgement: str
    score: float


@dataclass
class Accepted:
    """The targets, how many prompts they come from, and what was dropped by reason."""

    targets: list[Target] = field(default_factory=list)
    prompts: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def accept(
    prompts: Sequence[SeedPrompt], judgements: Sequence[Judgement], score_format: ScoreFormat = BUILT_IN_FORMAT
) -> Accepted:
    """One target a reply, of the prompts whose mean scores put the replies into exactly the human order."""
    means = mean_scores(judgements)
    samples: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        samples.setdefault(judgement.candidate_id, []).append(judgement)
    accepted = Accepted()
    for prompt in prompts:
        reason = disagreement(prompt.replies, means)
        if reason:
            accepted.dropped[f"prompt: {reason}"] += 1
            continue
        accepted.prompts += 1
        for reply in prompt.replies:
            best = closest(samples[reply.id], means[reply.id], score_format)
            if best is None or best.score is None:
                accepted.dropped["example: no sample gives reasons and ends on its score"] += 1
            else:
                accepted.targets.append(Target(reply.id, prompt.text, reply.text, best.completion.strip(), best.score))
    return accepted


def disagreement(replies: Sequence[Reply], means: Mapping[str, float]) -> str | None:
    """Why the mean scores do not give the replies' order (best first); None where they do."""
    if any(reply.id not in means for reply in replies):
        return "a reply has no parsed judgement"
    gaps = [means[better.id] - means[worse.id] for better, worse in pairwise(replies)]
    if any(gap < -TOLERANCE for gap in gaps):
        return "scores disagree with the human order"
    return "scores tie" if any(gap <= TOLERANCE for gap in gaps) else None


def closest(samples: Sequence[Judgement], mean: float, score_format: ScoreFormat = BUILT_IN_FORMAT) -> Judgement | None:
    """The sample to learn from: the nearest to the mean, the first among equals, None where none is fit for it.

    Fit is a whole sample that gives reasons and ends on its score: what follows the score would be learned as well.
    """
    distances: list[tuple[float, Judgement]] = []
    for sample in samples:
        last_line = (sample.completion.strip().splitlines() or [""])[-1]
        ends_on_score = parse_score(last_line, score_format=score_format).value == sample.score
        gives_reasons = word_count(sample.completion) >= FEWEST_WORDS
        if sample.score is not None and sample.finish_reason == "stop" and ends_on_score and gives_reasons:
            distances.append((abs(sample.score - mean), sample))
    least = min((distance for distance, _ in distances), default=0.0)
    return next((sample for distance, sample in distances if distance <= least + TOLERANCE), None)


def cap_classes(
    targets: Sequence[Target], share: float, seed: int, score_format: ScoreFormat = BUILT_IN_FORMAT
) -> list[Target]:
    """The largest selection, in the given order, in which no score class has more than `share` of the whole.

    A class is a point of the scale with the scores nearest to it. Which targets of too large a class stay is decided by
    a hash of seed and id. With fewer classes than 1 / share no selection can hold, and the result is empty.
    """
    classes = {target.id: score_format.nearest(target.score) for target in targets}
    room = dict.fromkeys(score_format.points, class_limit(Counter(classes.values()), share))
    kept: set[str] = set()
    for target in sorted(targets, key=lambda target: content_hash([seed, target.id])):
        if room[classes[target.id]]:
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
