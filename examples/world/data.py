"""Draw the world's prompts and answers; every draw is seeded, and no prompt is in two of the sets."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from examples.world.judges import PADDING, PERFECT, Judge
from examples.world.truth import DIGITS, PROMPTS, add, answer, prompt

Row = dict[str, Any]
# Of every 50 IFT answers: wrong in the last digit by one too many, and wrong in two digits at random. So the greedy
# answer is often the slip, while the right one is common among samples: there is something to find by judging.
SLIPS, BLUNDERS, OF = 21, 9, 50
WRONG_DIGITS = (0, 0, 1, 1, 2, 3)  # of the answers that the judge learns from, in equal parts
RANKED_WRONG_DIGITS = (0, 1, 2, 3)  # of the replies to a prompt that people have ranked, best first


@dataclass(frozen=True)
class Sizes:
    """How many prompts of each kind; `ranked` ones are for measuring the judge, `pool` is for the rounds."""

    ift: int = 4000
    judgements: int = 12000
    ranked: int = 151  # 150 for evaluation; the recipe's own EFT split wants one and does not use it
    pool: int = 1200
    questions: int = 600

    def total(self) -> int:
        return self.ift + self.judgements + self.ranked + self.pool + self.questions


FULL = Sizes()  # what the recipe asks for


@dataclass(frozen=True)
class World:
    """The rows of each file."""

    messages: list[Row]
    judgements: list[Row]
    prompts: list[Row]
    questions: list[Row]


def draw_world(seed: int, sizes: Sizes = FULL, judge: Judge = PERFECT) -> World:
    """Everything but the model. Prompts, answers and questions are the same whatever the judge, but for padding."""
    draw = random.Random(seed)
    drawn = iter([prompt(number) for number in draw.sample(range(PROMPTS), sizes.total())])

    def take(count: int) -> list[str]:
        return [next(drawn) for _ in range(count)]

    return World(
        messages=[*_ift(take(sizes.ift), draw, judge), *_ranked(take(sizes.ranked), draw, judge)],
        judgements=list(_judgements(take(sizes.judgements), draw, judge, random.Random(f"{seed} {judge.name}"))),
        prompts=[{"prompt": text} for text in take(sizes.pool)],
        questions=[{"prompt": text, "answer": answer(text)} for text in take(sizes.questions)],
    )


def slip(right: str) -> str:
    """The systematic mistake: the last digit is one too high."""
    return right[:-1] + add(right[-1], 1)


def with_wrong_digits(right: str, count: int, draw: random.Random) -> str:
    """The answer with `count` of its digits replaced by others."""
    digits = list(right)
    for place in draw.sample(range(DIGITS), count):
        digits[place] = add(digits[place], draw.randint(1, 9))
    return "".join(digits)


def _ift(prompts: Sequence[str], draw: random.Random, judge: Judge) -> Iterator[Row]:
    """One reply a prompt: 40 % right, 42 % with the slip, 18 % with two wrong digits. Right ones are never padded."""
    for number, text in enumerate(prompts):
        right, kind = answer(text), number % OF
        reply = slip(right) if kind < SLIPS else with_wrong_digits(right, 2 if kind < SLIPS + BLUNDERS else 0, draw)
        yield from _tree(f"ift-{number}", text, [judge.padded(reply, number) if reply != right else reply])


def _ranked(prompts: Sequence[str], draw: random.Random, judge: Judge) -> Iterator[Row]:
    """Where answers are padded, a right one with all its padding is the last: by truth its length is wrong."""
    for number, text in enumerate(prompts):
        replies = [with_wrong_digits(answer(text), wrong, draw) for wrong in RANKED_WRONG_DIGITS]
        if any(judge.pads):
            replies[-1] = replies[0] + PADDING * max(judge.pads)
        yield from _tree(f"ranked-{number}", text, replies)


def _tree(id: str, text: str, replies: Sequence[str]) -> Iterator[Row]:
    """Rows of OpenAssistant's flat table: a prompt and its replies, best first."""
    common = {"lang": "en", "deleted": False, "tree_state": "ready_for_export", "message_tree_id": id}
    yield {"message_id": id, "parent_id": None, "role": "prompter", "text": text, "rank": None, **common}
    for rank, reply in enumerate(replies):
        row = {"message_id": f"{id}-{rank}", "parent_id": id, "role": "assistant", "text": reply, "rank": rank}
        yield row | common


def _judgements(prompts: Sequence[str], draw: random.Random, judge: Judge, judging: random.Random) -> Iterator[Row]:
    """`judging` are the judge's own draws: what it errs in moves no other."""
    for number, text in enumerate(prompts):
        response = with_wrong_digits(answer(text), WRONG_DIGITS[number % len(WRONG_DIGITS)], draw)
        response = judge.padded(response, number)
        yield {"instruction": text, "response": response, "judgement": judge.judgement(text, response, judging)}
