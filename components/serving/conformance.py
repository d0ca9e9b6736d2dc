"""What a server can do of what a run asks for (issue 13): the same checks for every engine, and for any URL.

`srlm doctor --endpoint URL` shows them; docs/engines.md holds what the engines of the tests did.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from components.core.errors import UserError
from components.core.records import Messages
from components.serving.address import Address, address_of
from components.serving.answers import PROMPT_TOO_LONG
from components.serving.client import Client, Completion, Request, Sampling
from components.serving.description import endpoint_info, resolve
from components.serving.patience import RetryPolicy

QUESTION = "Tell me a short story about a river and a stone."
TOKENS = 24
AT_ONCE = 16
SEEDS = (1, 2, 3, 4)
PATIENCE = RetryPolicy(attempts=3, patience=120.0)


@dataclass(frozen=True)
class Ability:
    """One line: whether the server does it, and what was seen."""

    name: str
    state: Literal["yes", "no", "unknown"]
    seen: str = ""


def examine(endpoint: str | Address) -> list[Ability]:
    """Ask the endpoint for each thing that a run needs, about 40 short requests.

    Raises UserError where it answers nothing at all, or its model is not clear.
    """
    address = resolve(address_of(endpoint))
    return asyncio.run(_examine(address, endpoint_info(address)))


async def _examine(address: Address, info: dict[str, Any]) -> list[Ability]:
    context = info.get("max_total_tokens")
    abilities = [
        Ability("its model has a name", "yes" if info.get("model_id") else "no", str(info.get("model_id") or "")),
        Ability("tells its context", "yes" if context else "no", f"{context} tokens" if context else ""),
    ]
    client = Client(address, PATIENCE)
    try:
        for name, check in CHECKS.items():
            try:
                done = await check(client, context)
            except UserError as error:
                done = Ability(name, "no", error.problem)
            abilities.append(Ability(name, done.state, done.seen))
    finally:
        await client.close()
    return abilities


def _request(sampling: Sampling, seed: int = 1, messages: Messages | None = None) -> Request:
    return Request("conformance", messages or [{"role": "user", "content": QUESTION}], sampling, seed)


async def _greedy(client: Client, tokens: int = TOKENS, stop: tuple[str, ...] = ()) -> Completion:
    return await client.complete(_request(Sampling(0.0, 1.0, tokens, stop)))


def _ability(holds: bool, seen: str) -> Ability:
    return Ability("", "yes" if holds else "no", seen)


async def _length(client: Client, context: int | None) -> Ability:
    completion = await _greedy(client, 4)
    if completion.finish_reason == "stop":
        return Ability("", "unknown", "the answer ended by itself")
    few = completion.tokens <= 4
    return _ability(completion.finish_reason == "length" and few, f"{completion.finish_reason}, {completion.tokens}")


async def _repeats(client: Client, context: int | None) -> Ability:
    first, second = await _greedy(client), await _greedy(client)
    return _ability(first.text == second.text, "" if first.text == second.text else "two greedy answers differ")


async def _at_once(client: Client, context: int | None) -> Ability:
    alone, *together = await asyncio.gather(*(_greedy(client) for _ in range(AT_ONCE)))
    same = sum(completion.text == alone.text for completion in together) + 1
    return _ability(bool(alone.text), f"{AT_ONCE} answered, {same} of them alike")


async def _seeds(client: Client, context: int | None) -> Ability:
    """The same text for the same seed, and not one text for all seeds."""
    sampling = Sampling(1.0, 1.0, TOKENS)
    texts = [(await client.complete(_request(sampling, seed))).text for seed in SEEDS]
    again = [(await client.complete(_request(sampling, seed))).text for seed in SEEDS]
    same, different = sum(a == b for a, b in zip(texts, again, strict=True)), len(set(texts))
    seen = f"{same} of {len(SEEDS)} seeds drew the same text again, {different} texts in all"
    return _ability(same == len(SEEDS) and different > 1, seen)


async def _stop(client: Client, context: int | None) -> Ability:
    """A piece from the middle of its own greedy answer is where it must stop."""
    text = (await _greedy(client)).text
    stop = text[len(text) // 2 :][:3]
    if len(text) < 4 or "\ufffd" in stop:
        return Ability("", "unknown", "its answer gives nothing to stop at")
    cut = await _greedy(client, stop=(stop,))
    whole = cut.text == text[: text.index(stop)] and cut.finish_reason == "stop"
    return _ability(whole, "" if whole else f"asked to stop at {stop!r}, it wrote {cut.text[-20:]!r}")


async def _logprobs(client: Client, context: int | None) -> Ability:
    likeliest = (await client.complete(_request(Sampling(0.0, 1.0, 1, top_logprobs=5)))).first_token
    if not likeliest:
        return _ability(False, "preferences are then read from the text of a verdict (annotation.head_to_head)")
    mass = sum(math.exp(value) for value in likeliest.values())
    return _ability(mass <= 1.001, f"{len(likeliest)} tokens, {mass:.3f} of the probability")


async def _too_long(client: Client, context: int | None) -> Ability:
    if not context:
        return Ability("", "unknown", "it does not tell its context")
    words = 2 * context
    request = _request(Sampling(0.0, 1.0, 4), messages=[{"role": "user", "content": "river " * words}])
    reason = (await client.complete(request)).finish_reason
    if reason in ("stop", "length"):
        return _ability(False, f"{words:,} words were answered")
    return _ability(reason == PROMPT_TOO_LONG, f"said of a prompt of {words:,} words: {reason}")


async def _system(client: Client, context: int | None) -> Ability:
    messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": QUESTION}]
    completion = await client.complete(_request(Sampling(0.0, 1.0, TOKENS), messages=messages))
    return _ability(completion.finish_reason in ("stop", "length"), completion.finish_reason)


async def _turns(client: Client, context: int | None) -> Ability:
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "A stone lay in a river."},
        {"role": "user", "content": "Go on."},
    ]
    completion = await client.complete(_request(Sampling(0.0, 1.0, TOKENS), messages=messages))
    return _ability(completion.finish_reason in ("stop", "length"), completion.finish_reason)


CHECKS: dict[str, Callable[[Client, int | None], Awaitable[Ability]]] = {
    f"answers {AT_ONCE} requests at once": _at_once,
    "ends at max_tokens, and says so": _length,
    "the same text again at temperature 0": _repeats,
    "the same text again for a seed": _seeds,
    "stops where it is told": _stop,
    "log-probabilities of the first token": _logprobs,
    "refuses a prompt that is too long": _too_long,
    "takes a system prompt": _system,
    "takes several turns": _turns,
}
