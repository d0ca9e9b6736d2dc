"""What is true: operations on five digits, the score that an answer deserves, the judgement that says so."""

from __future__ import annotations

from collections.abc import Callable

DIGITS = 5
OPERATIONS: dict[str, Callable[[str], str]] = {
    "c": lambda digits: digits,
    "r": lambda digits: digits[::-1],
    "i": lambda digits: "".join(add(digit, 1) for digit in digits),
}
PROMPTS = len(OPERATIONS) * 10**DIGITS


def add(digit: str, amount: int) -> str:
    """The digit that follows `amount` later, 0 after 9."""
    return str((int(digit) + amount) % 10)


def prompt(number: int) -> str:
    """The prompt with that number, 0 to PROMPTS - 1: an operation and five digits, such as "i 70395"."""
    operation, digits = divmod(number, 10**DIGITS)
    return f"{list(OPERATIONS)[operation]} {digits:0{DIGITS}}"


def answer(prompt: str) -> str:
    """The right answer: the digits copied (c), reversed (r), or each one higher (i), 0 after 9."""
    operation, digits = prompt.split()
    return OPERATIONS[operation](digits)


def true_score(prompt: str, response: str) -> int:
    """5 less the wrong digits, 0 where the length is wrong."""
    right = answer(prompt)
    return sum(a == b for a, b in zip(right, response, strict=True)) if len(response) == len(right) else 0


def judgement(prompt: str, response: str) -> str:
    """For each position the right digit and whether the response has it (y, n), then the score: "8y1y4y0y6n4".

    The working comes before the score: a model that was taught the bare score judged no better than chance.
    """
    marks = (digit + ("y" if digit == given else "n") for digit, given in zip(answer(prompt), response, strict=True))
    return f"{''.join(marks)}{true_score(prompt, response)}"
