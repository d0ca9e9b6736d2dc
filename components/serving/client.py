"""The one client of every engine and gateway: chat completions over HTTP, by what each response means (issue 13)."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from components.core.errors import UserError
from components.core.ledger import count
from components.core.progress import warn
from components.core.records import Messages
from components.serving.address import Address, address_of
from components.serving.adjustments import adjustments_of
from components.serving.answers import (
    CONTENT_FILTER,
    CUT_IN_THOUGHT,
    LENGTH,
    PROMPT_TOO_LONG,
    REFUSED,
    SERVER_ERROR,
    read_choice,
)
from components.serving.meaning import Kind, Meaning, meaning_of, unreachable
from components.serving.patience import TRIPPED, Circuit, RetryPolicy
from components.serving.remedies import refusal
from components.serving.replicas import Place, Replicas
from components.serving.transport import Connections, fetch
from components.serving.window import MOST, window_of

LEAST_ROOM = 64  # tokens in which a thought may still end
OWN_ATTEMPTS = 8  # at a request that fails while others are answered
MAX_TOKENS = ("max_tokens", "max_completion_tokens")
CONNECT_TIMEOUT_S = 30.0
HOPS = 3  # redirects within one host


@dataclass(frozen=True)
class Sampling:
    """How to draw a completion. Temperature 0 is greedy; `max_tokens` counts new tokens.

    `top_logprobs` asks for the log-probabilities of so many of the likeliest tokens; 0 asks for none.
    `reasoning_tokens` more are given to one that thinks, where `max_tokens` do not do.
    """

    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class Request:
    """One chat completion to make; `id` names the record that it becomes, `seed` makes it repeatable.

    `room`: tokens for a thought beside those of the sampling, once it has shown that it takes them. `about`: of what
    the record is made beside the completion; it is not sent.
    """

    id: str
    messages: Messages
    sampling: Sampling
    seed: int
    room: int = 0
    about: Any = None

    @property
    def max_tokens(self) -> int:
        return self.sampling.max_tokens + self.room


@dataclass(frozen=True)
class Completion:
    """What the endpoint answered. `finish_reason` is "stop", "length", or why there is no answer (answers.py).

    `first_token`: log-probabilities (natural logarithm) of the likeliest first tokens by their text, exactly as the
    endpoint wrote it; None where it gave none, or where they are those of a thought. `reasoning` is what was thought
    before the text, "" where nothing is told of it; `thought`: whether it did. `tokens` are all that it wrote.
    """

    text: str
    finish_reason: str
    tokens: int
    first_token: Mapping[str, float] | None = None
    reasoning: str = ""
    thought: bool = False


@dataclass
class Client:
    """Chat completions from one endpoint; a bare URL is a server of the run itself, which gets no key."""

    endpoint: Address | str
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    circuit: Circuit = field(default_factory=Circuit)
    concurrency: int = MOST  # in flight at most; how many follows the server
    open: int = 0  # requests that have no answer yet

    def __post_init__(self) -> None:
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # KFP's executor would log a line for each request
        self.address = address_of(self.endpoint)
        self._adjustments = adjustments_of(self.address.url, self.address.model)
        self._doubt = asyncio.Lock()
        urls = self.address.replicas() if self.address.replicas else []
        places, most = self.address.places, self.concurrency
        self.replicas = Replicas(urls or [self.address.url], lambda: window_of(places, most), most)
        self._connections = Connections(self.address)

    async def complete(self, request: Request) -> Completion:
        """The completion of one request, or one without text whose `finish_reason` says why it cannot be answered.

        One that thinks, and is cut off, is asked again with `reasoning_tokens` more, halved until they fit its context.
        Each request by itself: what one is given does not depend on those before it. Raises UserError as `_ask` does.
        """
        self.open += 1
        try:
            return await self._thoughtfully(request)
        finally:
            self.open -= 1

    async def _thoughtfully(self, request: Request) -> Completion:
        """One that has thought for too long is given more room, halved until it fits."""
        made, room = await self._ask(request), request.sampling.reasoning_tokens
        if made.thought and made.finish_reason in (LENGTH, CUT_IN_THOUGHT):
            while room >= LEAST_ROOM:
                again = await self._ask(replace(request, room=room))
                if again.finish_reason != PROMPT_TOO_LONG:
                    return again
                room //= 2
        return made

    async def _ask(self, request: Request) -> Completion:
        """The completion of one request, or one without text whose `finish_reason` says why it cannot be answered.

        A busy server is asked again for as long as there is patience, a broken one for a number of attempts. Raises
        UserError that names the endpoint where it is given up, or refuses what every request asks.
        """
        failures, attempts, answers = 0, 0, self.circuit.answers
        prefix = hash(json.dumps(request.messages))
        while True:
            body = self._adjustments.body(request, self.address.model)
            if self.address.template_arguments:
                body["chat_template_kwargs"] = dict(self.address.template_arguments)
            async with self.replicas.place(prefix, first=failures > 0) as place, self.circuit.turn() as number:
                meaning = await self._send(body, request.max_tokens, place)
                if meaning.kind in (Kind.BUSY, Kind.BROKEN):
                    self.circuit.failed(number)
                    count(retries=1)
                    self.circuit.problem = meaning.problem
                    if await self._revived(meaning):
                        continue
                    failures, attempts = failures + 1, attempts + (meaning.kind is Kind.BROKEN)
                    own_fault = attempts >= min(OWN_ATTEMPTS, self.retry.attempts) and self.circuit.answers > answers
                    wait = self._wait(meaning, failures)
                    in_doubt = own_fault or (wait is None and meaning.responded)
                    if meaning.kind is Kind.BROKEN and in_doubt and await self._answers_others(request, body, place):
                        # Once more: what it failed at before may have been an outage that has just ended.
                        meaning = await self._send(body, request.max_tokens, place)
                        if meaning.kind is Kind.BROKEN:
                            return Completion("", SERVER_ERROR, 0)
                        if meaning.kind is Kind.BUSY:
                            continue
                    elif wait is None:
                        raise self._given_up(meaning)
                    else:
                        await self.circuit.sleep(wait)
                        continue
            if made := await self._outcome(request, body, meaning, place):
                return made

    async def _revived(self, meaning: Meaning) -> bool:
        """Whether the server was away and is back; one caller waits for it, and the others for that one."""
        if not self.address.revive or meaning.kind is Kind.BUSY or self.circuit.rounds < TRIPPED:
            return False
        async with self._doubt:
            back = await asyncio.to_thread(self.address.revive)
        if back:
            await self._look_for_replicas()
            self.circuit.revived()
        return back

    async def _look_for_replicas(self) -> None:
        """A pod that was replaced has another address. Where nobody can tell, those that were known are asked."""
        if self.address.replicas and self.replicas.outdated():
            try:
                found = await asyncio.to_thread(self.address.replicas)
            except UserError as error:
                warn(f"the replicas of {self.address.shown} cannot be looked up ({error.problem})")
            else:
                self.replicas.replace(found or [self.address.url])

    def _wait(self, meaning: Meaning, failures: int) -> float | None:
        """Seconds until the next attempt of a request that failed so often; None where there is none."""
        circuit, retry, asked = self.circuit, self.retry, meaning.wait or 0.0
        wait = retry.wait(max(circuit.rounds, failures) - 1)
        if meaning.kind is Kind.BROKEN and circuit.rounds >= retry.attempts:
            return None
        if circuit.silent + max(asked, wait) > retry.patience:
            return None
        circuit.hold(asked)
        return wait if meaning.wait is None else asked + min(wait, 1.0)

    def _given_up(self, meaning: Meaning) -> UserError:
        """A server that is busy for too long, or one that is down."""
        where = f"the endpoint {self.address.shown} did not answer"
        if meaning.wait and meaning.wait > self.retry.patience:
            return UserError(
                f"{where} and asks to be left alone for {meaning.wait:.0f} s ({meaning.problem})",
                f"Run again then (answers made are kept), or raise serving.patience ({self.retry.patience:g} s).",
            )
        if meaning.kind is Kind.BUSY:
            return UserError(
                f"{where} for {self.circuit.silent:.0f} s: it is busy ({meaning.problem})",
                "Lower the stage's concurrency, raise serving.patience, or run again later: answers made are kept.",
            )
        attempts = f"{self.circuit.rounds} attempt{'s' * (self.circuit.rounds != 1)}"
        return UserError(
            f"{where} after {attempts} ({meaning.problem})",
            "Check that it is up and not overloaded, then run again: answers already made are kept.",
        )

    async def _outcome(
        self, request: Request, body: dict[str, Any], meaning: Meaning, place: Place
    ) -> Completion | None:
        """What a response makes of the request; None where it is to be asked again, otherwise. Raises UserError."""
        if meaning.kind is Kind.ANSWER:
            self.circuit.answered()
            return self._completion(request, meaning.body or {})
        if meaning.kind is Kind.TOO_LONG or (request.room and meaning.parameter in MAX_TOKENS and not meaning.instead):
            return Completion("", PROMPT_TOO_LONG, 0)
        if meaning.kind is Kind.FILTERED:
            return Completion("", CONTENT_FILTER, 0)
        if meaning.kind in (Kind.PARAMETER, Kind.ROLES) or (meaning.kind is Kind.NAME and not self.address.model):
            if told := self._adjustments.adjust(body, meaning):
                warn(f"the endpoint {self.address.shown} {told} ({meaning.problem})")
            elif told is None:
                raise refusal(self.address, meaning)
            return None
        if meaning.kind is Kind.REFUSED and await self._answers_others(request, body, place):
            return Completion("", REFUSED, 0)
        raise refusal(self.address, meaning)

    async def _answers_others(self, request: Request, body: dict[str, Any], place: Place) -> bool:
        """Whether a refusal, or a failure, is about this one request: then the same one with other words is answered.

        Asked each time: a server that has begun to refuse everything would else leave refusals in the store.
        """
        async with self._doubt:
            other = body | {"messages": [{**message, "content": "Hello"} for message in body["messages"]]}
            answered = (await self._send(other, request.max_tokens, place)).kind is Kind.ANSWER
            if answered:
                self.circuit.answered()
            return answered

    def _completion(self, request: Request, body: Mapping[str, Any]) -> Completion:
        """Of a body that holds a choice."""
        choice, usage = body["choices"][0], body.get("usage")
        answer, stops = read_choice(choice), request.sampling.stop
        # TGI keeps the stop sequence at the end of the text, OpenAI does not: here it is never part of it.
        text = answer.text[: min((answer.text.find(stop) for stop in stops if stop in answer.text), default=None)]
        _count_answer(usage)
        reached = text != answer.text and "stop" in self._adjustments.without
        details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
        thought = answer.thought or bool(isinstance(details, dict) and details.get("reasoning_tokens"))
        of_answer = request.sampling.top_logprobs and not thought  # else they are those of the thought
        likeliest = _first_token(choice.get("logprobs")) if of_answer else None
        finish_reason = (
            CUT_IN_THOUGHT if thought and answer.finish_reason == LENGTH and not text else answer.finish_reason
        )
        return Completion(
            text=text,
            finish_reason="stop" if reached else finish_reason,
            tokens=_tokens(usage),
            first_token=likeliest,
            reasoning=answer.reasoning,
            thought=thought,
        )

    async def _send(self, body: dict[str, Any], tokens: int, place: Place) -> Meaning:
        """One attempt, after which its place is free. What the server says of the key is struck out."""
        import httpx2

        seconds = self.retry.read_timeout(tokens)
        timeout = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT_S))
        route = replace(self.address, url=place.replica.url).route("/v1/chat/completions")
        try:
            with self._connections.one() as http:
                built = http.build_request("POST", route, json=body, timeout=timeout)
                response, text = await fetch(http, built, seconds + CONNECT_TIMEOUT_S)
                for _ in range(HOPS):
                    if following := _within_origin(response):
                        response, text = await fetch(http, following, seconds + CONNECT_TIMEOUT_S)
            meaning = meaning_of(response.status_code, response.headers, text, body)
        except (httpx2.RequestError, TimeoutError) as error:
            meaning = unreachable(str(error) or type(error).__name__)
        if meaning.kind is Kind.ANSWER:
            place.answered(_tokens((meaning.body or {}).get("usage")))
        elif meaning.kind is Kind.BUSY:
            place.refused()
        elif meaning.responded:
            place.answered(None)
        else:
            place.lost()
            await self._look_for_replicas()
        return replace(meaning, problem=self.address.without_key(meaning.problem))

    async def close(self) -> None:
        await self._connections.close()


def _tokens(usage: Any) -> int:
    """That were written, 0 where it is not told."""
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) else 0


def _count_answer(usage: Any) -> None:
    """In the ledger: what an answer took is what its server says, and not known where it says nothing."""
    told = usage if isinstance(usage, dict) else {}
    tokens = {name: told[name] for name in ("prompt_tokens", "completion_tokens") if isinstance(told.get(name), int)}
    count(answers=1, **tokens, **({} if len(tokens) == 2 else {"unmetered": 1}))


def _within_origin(response: Any) -> Any:
    """The request that a redirect asks for, where it stays at this server and keeps its body; None for every other.

    Elsewhere neither prompts nor keys are sent.
    """
    following = response.next_request if response.status_code in (307, 308) else None
    if following is None:
        return None
    before, after = response.request.url, following.url
    same = (before.scheme, before.host, before.port) == (after.scheme, after.host, after.port)
    return following if same else None


def _first_token(logprobs: Any) -> dict[str, float] | None:
    """Log-probabilities by token text from an answer's `logprobs`: null, empty or of another form is None.

    Tokens of one text (sentencepiece's "m" and "▁m" both read "m" where they are decoded alone) count as one: their
    probabilities add up. Impossible ones are left out.
    """
    by_text: dict[str, float] = {}
    try:
        for token in logprobs["content"][0]["top_logprobs"]:
            new = float(token["logprob"])
            if math.isfinite(new):
                known = by_text.get(str(token["token"]), -math.inf)
                # log(exp(known) + exp(new)) without underflow
                by_text[str(token["token"])] = max(known, new) + math.log1p(math.exp(-abs(known - new)))
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return by_text or None
