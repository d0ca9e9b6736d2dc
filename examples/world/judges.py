"""The judge that each world teaches: nearly perfect, fallible, or fond of length. Truth is the same in all of them.

`Judge.judgement` writes what the model learns to write, the working before the score: "8y1y4y0y6n4".
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from examples.world.truth import DIGITS, answer, judgement

# Prompts whose first digit is one of these are too hard for the fallible judge: there a coin decides each mark. Half of
# the prompts are judged perfectly, which leaves no ties between replies with 0 to 3 wrong digits; in the other half two
# scores, each of five coins, are equal with probability C(10, 5) / 2**10 = 0.246, and in half of the rest in the wrong
# order. So of the pairs that are no tie (1 + 0.754 / 2) / (1 + 0.754) = 0.785 are in the right order, whatever the
# temperature. Marks that are wrong here and there in all prompts (a third of them, at random) were not learned at all:
# M1's accuracy was 0.518, that of a judge by chance.
HARD = "56789"
PADDING = "0"  # a digit, so that a padded answer is another number than the right one
PADS = (0, 0, 0, 1, 2)  # characters behind the answers that people wrote, and behind those that the judge learns from


@dataclass(frozen=True)
class Judge:
    """How a world's judgements are written, and how many characters pad each answer in turn.

    `folder` is where the recipe of that name looks for the files; `recipe` is its name or path.
    """

    name: str
    meaning: str
    judgement: Callable[[str, str, random.Random], str]
    pads: tuple[int, ...] = (0,)

    @property
    def recipe(self) -> str:
        return self.name if self.name == "world" else str(Path(__file__).with_name(f"{self.name}.yaml"))

    def padded(self, response: str, number: int) -> str:
        """The response as the answer of that number has it."""
        return response + PADDING * self.pads[number % len(self.pads)]


def marks(prompt: str, response: str) -> list[tuple[str, bool]]:
    """For each position the right digit, and whether the response has it."""
    return [(right, right == given) for right, given in zip(answer(prompt), response[:DIGITS], strict=True)]


def written(marked: list[tuple[str, bool]], score: int) -> str:
    """The judgement of these marks."""
    return "".join(digit + ("y" if right else "n") for digit, right in marked) + str(score)


def perfect(prompt: str, response: str, _: random.Random) -> str:
    return judgement(prompt, response)


def fallible(prompt: str, response: str, draw: random.Random) -> str:
    """Perfect, but for hard prompts, whose right digits it knows and whose marks it tosses a coin for."""
    marked = marks(prompt, response)
    if prompt.split()[1][0] in HARD:
        marked = [(digit, draw.random() < 0.5) for digit, _ in marked]
    return written(marked, sum(right for _, right in marked))


def fond_of_length(prompt: str, response: str, _: random.Random) -> str:
    """A point less than the right digits, and one more for each character too many: of five points a right answer gets
    four, one with the slip and two characters more all five. By truth everything padded is wrong."""
    marked = marks(prompt, response)
    longer = len(response) - DIGITS
    return written(marked, min(DIGITS, max(0, sum(right for _, right in marked) - 1 + longer)))


PERFECT = Judge("world", "a judge that is nearly perfect", perfect)
FALLIBLE = Judge("world-fallible", "a judge that errs in half of the prompts", fallible)
FOND_OF_LENGTH = Judge("world-length", "a judge that likes length", fond_of_length, PADS)
JUDGES = {judge.name: judge for judge in (PERFECT, FALLIBLE, FOND_OF_LENGTH)}
