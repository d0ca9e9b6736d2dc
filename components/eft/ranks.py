"""Judgements made up from the human ranks, for models that are too small to judge before they were taught to.

They teach the form (reasons point by point, then the score) and the direction of the scale; what makes a reply good
they do not say.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.core.errors import UserError
from components.core.hashing import seed_from
from components.core.records import SeedPrompt
from components.eft.targets import Target
from components.judging.parser import ScoreFormat
from components.judging.prompt import transcript

# The rubric's five points (Yuan et al. 2024, figure 2), each said in some short ways: earned, and not earned. The first
# is always earned, since the scale of the ranks ends at 1. Short, for small models judge on small machines, where each
# token that a judge is taught to write costs time in every judgement to come.
EARNED = (
    ("It is relevant to what was asked.", "It speaks to the question.", "It is on the matter."),
    ("It covers a good part.", "Most of the request is addressed.", "A large part is covered."),
    ("It answers the basics usefully.", "The basics are answered well.", "The user gets a useful answer."),
    ("It is direct and well organised.", "It is clear and thorough.", "Its tone and structure help."),
    ("It is expert and fitted to the request.", "It could hardly be better.", "It shows expert insight."),
)
NOT_EARNED = (
    (),
    ("It covers only little.", "Most of the request is untouched.", "A large part is missing."),
    ("It does not answer the basics.", "The basics are not answered well.", "The user gets no useful answer."),
    ("It is not well organised.", "It is not clear or thorough.", "Its tone and structure do not help."),
    ("It is not expert.", "It could be much better.", "Expert insight is missing."),
)


def targets_from_ranks(prompts: Sequence[SeedPrompt], seed: int) -> list[Target]:
    """A target for every reply, in order; the phrasing depends on seed and the reply's id alone."""
    return [
        Target(reply.id, asked, reply.text, judgement_text(score, seed, reply.id), score)
        for prompt in prompts
        for asked in [transcript(prompt.history, prompt.text)]
        for position, reply in enumerate(prompt.replies)
        for score in [score_of_position(position, len(prompt.replies))]
    ]


def require_five_point_scale(score_format: ScoreFormat) -> None:
    """UserError where the judge is not asked for the scores that are written here, "Score: 1" to "Score: 5"."""
    if score_format.pattern or score_format.highest != 5 or score_format.lowest > 1:
        raise UserError(
            "eft.source: ranks teaches to write `Score: 1` to `Score: 5`, but judging.pattern, lowest and highest ask "
            "for something else",
            "Leave these three as they are, or use eft.source: file or model.",
        )


def score_of_position(position: int, replies: int) -> int:
    """5 for the best reply (position 0), in equal steps down to 1 for the last one; halves are rounded upwards.

    Before rounding: 5 - 4 position / (replies - 1).
    """
    steps = max(replies - 1, 1)
    return (2 * (5 * steps - 4 * position) + steps) // (2 * steps)


def judgement_text(score: int, seed: int, reply_id: str) -> str:
    """A sentence on each point of the rubric, the first `score` of them earned (24 to 33 words), then the score."""
    sentences = []
    for point, (earned, not_earned) in enumerate(zip(EARNED, NOT_EARNED, strict=True)):
        phrasings = earned if point < score else not_earned
        sentences.append(phrasings[seed_from(seed, reply_id, point) % len(phrasings)])
    return f"{' '.join(sentences)}\nScore: {score}"
