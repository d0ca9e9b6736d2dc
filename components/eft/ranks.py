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

# The rubric's five points (Yuan et al. 2024, figure 2), each said in a few ways: earned, and not earned. The first one
# is always earned, since the scale of the ranks ends at 1.
EARNED = (
    (
        "The response is relevant to what was asked.",
        "The response speaks to the user's question.",
        "The response gives information on the matter.",
    ),
    (
        "It deals with a substantial part of the request.",
        "It covers a large part of the question.",
        "A good deal of what was asked is addressed.",
    ),
    (
        "It answers the basic elements in a useful way.",
        "The user gets a useful answer to the basics.",
        "The basic elements are answered helpfully.",
    ),
    (
        "It is direct and well organised, as an assistant should be.",
        "It is thorough, clear and written from an assistant's perspective.",
        "Its structure and tone are those of a helpful assistant.",
    ),
    (
        "It is tailored to the instruction and shows expert knowledge.",
        "It shows expert insight and could hardly be improved.",
        "It is an expert's answer with nothing superfluous.",
    ),
)
NOT_EARNED = (
    (),
    (
        "It leaves most of the request untouched.",
        "It covers only a small part of the question.",
        "A substantial part of what was asked is missing.",
    ),
    (
        "It does not answer the basic elements usefully.",
        "The user gets no useful answer to the basics.",
        "The basic elements are not answered helpfully.",
    ),
    (
        "It is not as direct and organised as an assistant should be.",
        "It is not thorough or clear enough for an assistant.",
        "Its structure and tone are not those of a helpful assistant.",
    ),
    (
        "It is not tailored with expert knowledge.",
        "Expert insight is missing, and much could be improved.",
        "It is not the answer of an expert.",
    ),
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
    """A sentence on each point of the rubric, the first `score` of them earned (25 to 60 words), then the score."""
    sentences = []
    for point, (earned, not_earned) in enumerate(zip(EARNED, NOT_EARNED, strict=True)):
        phrasings = earned if point < score else not_earned
        sentences.append(phrasings[seed_from(seed, reply_id, point) % len(phrasings)])
    return f"{' '.join(sentences)}\nScore: {score}"
