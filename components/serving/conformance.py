"""What a server can do of what a run asks for (issue 13): the same checks for every engine, and for any URL.

`srlm doctor --endpoint URL` shows them; docs/engines.md holds what the engines of the tests did.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from components.core.errors import UserError
from components.core.records import Messages
from components.serving.address import Address
from components.serving.answers import PROMPT_TOO_LONG
from components.serving.client import Client, Completion, Request, Sampling
from components.serving.description import endpoint_info, resolve
from components.serving.patience import RetryPolicy

QUESTION = "Tell me a short story about a river and a stone."
TOKENS = 24
AT_ONCE = 16
SEEDS = (1, 2, 3, 4)
STRANGER = "no-such-model"
PATIENCE = RetryPolicy(attempts=3, patience=120.0)


Seen = tuple[bool | None, str]  # whether it holds, None where that cannot be told; and what was seen


@dataclass(frozen=True)
class Ability:
    """Whether a server does something, what was seen, and what a run does `without` it, "" where there is no run."""

    name: str
    state: Literal["yes", "no", "unknown"]
    seen: str
    without: str = ""


def examine(endpoint: str | Address) -> Iterator[Ability]:
    """Ask the endpoint for each thing that a run needs, about 40 short requests; one after the other.

    Raises UserError where it answers nothing at all, no longer, or its model is not clear.
    """
    address = resolve(endpoint)
    info = endpoint_info(address)
    name, context = str(info.get("model_id") or ""), info.get("max_total_tokens")
    yield Ability("names its model", "yes" if name else "no", name, "what it judged is not told apart by its name")
    told = f"{context} tokens" if context else ""
    yield Ability("tells its context", "yes" if context else "no", told, "serving.max_total_tokens is believed")
    for check in CHECKS:
        yield asyncio.run(_try(check, address, context))
        endpoint_info(address)


async def _try(check: Check, address: Address, context: int | None) -> Ability:
    """A client of its own for each: what one learns of the server does not change the next one's requests."""
    client = Client(address, PATIENCE)
    try:
        holds, seen = await check.run(client, context)
    except UserError as error:
        holds, seen = False, error.problem
    finally:
        await client.close()
    return Ability(check.name, "unknown" if holds is None else "yes" if holds else "no", seen, check.without)


def _request(sampling: Sampling, seed: int = 1, messages: Messages | None = None) -> Request:
    return Request("conformance", messages or [{"role": "user", "content": QUESTION}], sampling, seed)


async def _greedy(client: Client, tokens: int = TOKENS, stop: tuple[str, ...] = ()) -> Completion:
    return await client.complete(_request(Sampling(0.0, 1.0, tokens, stop)))


async def _length(client: Client, context: int | None) -> Seen:
    completion = await _greedy(client, 4)
    if completion.finish_reason == "stop":
        return None, "the answer ended by itself"
    few = completion.tokens <= 4
    return completion.finish_reason == "length" and few, f"{completion.finish_reason}, {completion.tokens}"


async def _repeats(client: Client, context: int | None) -> Seen:
    first, second = await _greedy(client), await _greedy(client)
    return first.text == second.text, "" if first.text == second.text else "two greedy answers differ"


async def _at_once(client: Client, context: int | None) -> Seen:
    alone, *together = await asyncio.gather(*(_greedy(client) for _ in range(AT_ONCE)))
    same = sum(completion.text == alone.text for completion in together) + 1
    return bool(alone.text), f"{AT_ONCE} answered, {same} of them alike"


async def _drawn(client: Client) -> list[str]:
    return [(await client.complete(_request(Sampling(1.0, 1.0, TOKENS), seed))).text for seed in SEEDS]


async def _draws(client: Client, context: int | None) -> Seen:
    different = len(set(await _drawn(client)))
    return different > 1, f"{different} texts for {len(SEEDS)} seeds"


async def _draws_again(client: Client, context: int | None) -> Seen:
    texts, again = await _drawn(client), await _drawn(client)
    same = sum(one == other for one, other in zip(texts, again, strict=True))
    return same == len(SEEDS), f"{same} of {len(SEEDS)}"


async def _stop(client: Client, context: int | None) -> Seen:
    """At a character from the middle of its own greedy answer."""
    text = (await _greedy(client)).text
    inside = [character for character in text[1:] if text.index(character) > 0 and character not in "\ufffd\n "]
    if not inside:
        return None, "its answer gives nothing to stop at"
    stop = inside[len(inside) // 2]
    cut = await _greedy(client, stop=(stop,))
    whole = cut.text == text[: text.index(stop)] and cut.finish_reason == "stop"
    return whole, "" if whole else f"asked to stop at {stop!r}, it wrote {cut.text[-20:]!r}"


async def _logprobs(client: Client, context: int | None) -> Seen:
    likeliest = (await client.complete(_request(Sampling(0.0, 1.0, 1, top_logprobs=5)))).first_token
    if not likeliest:
        return False, "none came"
    mass = sum(math.exp(value) for value in likeliest.values())
    return mass <= 1.001, f"{len(likeliest)} tokens, {mass:.3f} of the probability"


async def _too_long(client: Client, context: int | None) -> Seen:
    if not context:
        return None, "it does not tell its context"
    words = 2 * context
    request = _request(Sampling(0.0, 1.0, 4), messages=[{"role": "user", "content": "river " * words}])
    reason = (await client.complete(request)).finish_reason
    if reason in ("stop", "length"):
        return False, f"{words:,} words were answered"
    return reason == PROMPT_TOO_LONG, f"said of a prompt of {words:,} words: {reason}"


async def _system(client: Client, context: int | None) -> Seen:
    messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": QUESTION}]
    completion = await client.complete(_request(Sampling(0.0, 1.0, TOKENS), messages=messages))
    return completion.finish_reason in ("stop", "length"), completion.finish_reason


async def _turns(client: Client, context: int | None) -> Seen:
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "A stone lay in a river."},
        {"role": "user", "content": "Go on."},
    ]
    completion = await client.complete(_request(Sampling(0.0, 1.0, TOKENS), messages=messages))
    return completion.finish_reason in ("stop", "length"), completion.finish_reason


async def _wrong_name(client: Client, context: int | None) -> Seen:
    """What a name that was written wrong comes to."""
    other = Client(replace(client.address, model=STRANGER), PATIENCE)
    try:
        answered = await _greedy(other, 4)
    except UserError as error:
        return STRANGER in error.problem, error.problem
    finally:
        await other.close()
    return False, f"to {STRANGER!r} it said {answered.finish_reason}"


@dataclass(frozen=True)
class Check:
    """Something that a server must do (`needed`), or without which a run does something else."""

    name: str
    run: Callable[[Client, int | None], Awaitable[Seen]]
    without: str
    needed: bool = False


CHECKS = (
    Check(f"answers {AT_ONCE} requests at once", _at_once, "no run: lower the concurrency of its stages", True),
    Check("ends at max_tokens, and says so", _length, "no run: answers that were cut off would count as whole", True),
    Check(
        "draws at temperature 1", _draws, "no run: all candidates of a prompt are one text, and no pair is made", True
    ),
    Check("draws the same text again for a seed", _draws_again, "a run that is repeated gets other texts"),
    Check("writes the same text again at temperature 0", _repeats, "judgements differ when they are repeated"),
    Check("stops where it is told", _stop, "texts are cut by the client; what ran on to max_tokens counts as cut off"),
    Check("gives log-probabilities", _logprobs, "as an annotator it needs annotation.head_to_head: true"),
    Check("refuses a prompt that is too long", _too_long, "what was cut off of a prompt is not known"),
    Check("takes a system message", _system, "system messages go into the user's turn, or the prompt is not answered"),
    Check("takes several turns", _turns, "no MT-Bench, no data.turns: all"),
    Check("refuses another model's name", _wrong_name, "a name that is written wrong is not noticed"),
)
NEEDED = frozenset(check.name for check in CHECKS if check.needed)
