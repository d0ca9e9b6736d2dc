"""What a server's response means, by all that it says: a status alone says little, a word may stand there by chance.

vLLM, TGI, llama.cpp, Ollama, LiteLLM, OpenRouter, Azure and web servers say the same in different ways (issue 13). Only
what a server says itself is read, its messages and codes: never a prompt that its error quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from components.core.data_files import without_halves
from components.serving.waiting import wait_asked_for


class Kind(StrEnum):
    """What a response is; what is to be done about it is for whoever asked."""

    ANSWER = "an answer"
    # this request alone
    TOO_LONG = "prompt too long"
    FILTERED = "content filter"
    REFUSED = "a refusal"  # for a reason that is not known here
    # every request, as it is asked
    PARAMETER = "a parameter that it does not take"
    ROLES = "the template knows no system role"
    TEMPLATE = "no chat template"
    NAME = "the model's name"
    KEY = "the key"
    CREDIT = "no credit left"
    NO_API = "no API"
    # a later time
    BUSY = "busy"
    BROKEN = "broken"


@dataclass(frozen=True)
class Meaning:
    """`problem` is what the server says, one line of at most 300 characters.

    `parameter` is the one that a server does not take, as it was sent, and `instead` the name that it wants. `wait` are
    the seconds that it asks to be left alone, None where it names none. `body` is an answer's. `responded` is false
    where no response came at all.
    """

    kind: Kind
    problem: str = ""
    parameter: str = ""
    instead: str = ""
    wait: float | None = None
    body: Mapping[str, Any] | None = None
    responded: bool = True


# As the body calls what servers call otherwise in their complaints.
_ALSO_CALLED = {
    "top_n_tokens": "top_logprobs",
    "max_new_tokens": "max_tokens",
    "max_logprobs": "top_logprobs",
    "sample logprobs": "top_logprobs",
    "topp": "top_p",
    "stop_sequences": "stop",
}
_PATTERNS: dict[Kind, re.Pattern[str]] = {
    Kind.CREDIT: re.compile(
        r"insufficient[_ ](quota|credits|balance|funds)|billing_(hard_limit|not_active)|credit balance is too low", re.I
    ),
    Kind.TOO_LONG: re.compile(
        r"context_length_exceeded|exceed_context_size|ContextWindowExceeded|string_above_max_length"
        r"|maximum context (length|window) (is|of) \d"
        r"|exceed\w{0,20}\b.{0,60}\b(context (length|size|window|limit)|max\w{0,20} (sequence|input|model) length"
        r"|maximum (number of |input )?tokens)"
        r"|(longer|larger|greater|more tokens) than.{0,40}\b(context (length|size|window)|maximum model length)"
        r"|context (length|size|window)( limit)? (was |is |has been )?exceeded"
        r"|max_(completion_|new_)?tokens must be at least 1, got -\d"
        r"|`inputs` (must have less than \d+ tokens|tokens \+ `max_new_tokens` must be)"
        r"|prompt tokens \+ max new tokens must be|the prompt must have at most \d+ tokens"
        r"|(prompt|input|request|messages?)\b( \(\d+ tokens\))? (is|are|was) too (long|large)\b"
        r"|too many (input |prompt )?tokens\b(?!.{0,3}please wait)"
        r"|(request|request entity|payload|content) too large",
        re.I,
    ),
    Kind.ROLES: re.compile(
        r"roles? must alternate|system[' \"]*(role|message)s?\b.{0,30}\bnot (be )?(supported|allowed)"
        r"|(not|n't) support\w{0,20}.{0,20}\bsystem (role|message|prompt|instruction)|unexpected role[: ]*['\"]?system"
        r"|developer instruction is not enabled|only user(, | and |,? or )\w+.{0,20} roles are supported",
        re.I,
    ),
    Kind.TEMPLATE: re.compile(
        r"(no|without a?|missing|provide a|not (have|define|set|support)( an?y?)?|n't (have|define|support)( an?y?)?)"
        r" (default )?chat[_ ]template|chat[_ ]template\b.{0,40}\b(not (set|found|defined|supported|allowed)|missing"
        r"|no longer allowed|is required)|template (error: template )?not found|template_error.{0,300}not found",
        re.I,
    ),
    Kind.NAME: re.compile(
        r"model_not_found|DeploymentNotFound|(model|deployment)\b[^.]{0,120}\b(does not exist|not exist\b|not found"
        r"|is not (available|served|loaded|a valid model)|not a valid model)|invalid model( name| id|:|$)"
        r"|not a valid model|unknown model|no such model|must provide a model|model (parameter|field|name) is required"
        r"|unable to access model|not have access to (the )?model"
        r"|(pinned to|only serves|serving ['\"`]|loaded model)\b.{1,160}\brequested\b"
        r"|\brequested( model)?:? ['\"`].{1,160}(pinned to|only serves|serving ['\"`]|loaded model)",
        re.I,
    ),
    Kind.KEY: re.compile(
        r"(invalid|incorrect|missing|no|expired|wrong|bad)\W{1,3}(\w+ )?(api|access|auth\w{0,20}|subscription|virtual)?"
        r"[_ -]?(key|credentials|authentication)\b|api[_ ]key (is )?(not valid|invalid|missing|required|expired)"
        r"|authentication_error|authenticationerror|unauthori[sz]ed|permission_denied_error",
        re.I,
    ),
    Kind.FILTERED: re.compile(
        r"content[_ ](filter|policy|management policy|exists risk)|ResponsibleAIPolicy|data_inspection_failed"
        r"|moderation|flagged|invalid_prompt|safety system|guardrail",
        re.I,
    ),
}
_COMPLAINT = re.compile(
    r"unsupported|not (be )?(supported|allowed|permitted|available)|n't support|not support|unrecogni[sz]ed|unknown"
    r"|unexpected|extraneous|extra (inputs|fields)|extra_forbidden|must be|should be|invalid|(greater|larger|less) than"
    r"|too (large|many|high)|drop_params",
    re.I,
)
_INSTEAD = re.compile(r"use [`'\"]?(\w+)[`'\"]? instead", re.I)
_BROKEN_STATUS = frozenset({408, 424, 460, 499})
_BUSY_STATUS = frozenset({409, 423, 425, 429, 529})
_NO_API_STATUS = frozenset({404, 405, 406, 410, 415, 501, 505})
_STATUS = {401: Kind.KEY, 403: Kind.KEY, 407: Kind.KEY, 402: Kind.CREDIT, 413: Kind.TOO_LONG, 451: Kind.FILTERED}


def meaning_of(
    status: int, headers: Mapping[str, str], text: str, sent: Iterable[str] = (), now: float | None = None
) -> Meaning:
    """What a response to a chat completion means. `sent` are the names of the request's parameters.

    `now` is the time in seconds since 1970 against which a date in Retry-After counts, None: this moment.
    """
    body = _json(text)
    if status in range(300, 400):
        place = headers.get("location", "").split("?")[0]
        return Meaning(Kind.NO_API, f"it sends its callers elsewhere, to {place or 'an address that it does not name'}")
    if body is None:
        return _not_json(status, headers, text, now)
    if status < 300:
        if body.get("choices") and isinstance(body["choices"], list) and isinstance(body["choices"][0], dict):
            return Meaning(Kind.ANSWER, body=body)
        status = _status_inside(body)
    said = list(_said(body))
    problem = _line(said[0] if said else text or f"status {status}")
    kind = _kind(status, " ".join(said))
    unexplained = kind is Kind.REFUSED or (kind is Kind.KEY and status == 403)
    if unexplained and (parameter := _parameter(body, said, sent)):
        return Meaning(Kind.PARAMETER, problem, parameter, _instead(said, parameter))
    return _later(Meaning(kind, problem), headers, " ".join(said), now)


def unreachable(problem: str) -> Meaning:
    """What it means that no response came. A certificate does not get better by asking again."""
    certificate = "certificate" in problem.lower() or "ssl:" in problem.lower()
    return Meaning(Kind.NO_API if certificate else Kind.BROKEN, _line(problem), responded=False)


def _kind(status: int, said: str) -> Kind:
    """By what is said, as far as it can be believed at this status; else by the status."""
    if status in (401, 407):
        return Kind.KEY
    if status == 429:
        spent, too_large = _PATTERNS[Kind.CREDIT].search(said), re.search(r"request too large", said, re.I)
        return Kind.CREDIT if spent else Kind.TOO_LONG if too_large else Kind.BUSY
    told = next((kind for kind, pattern in _PATTERNS.items() if pattern.search(said)), None)
    if told in (Kind.TOO_LONG, Kind.ROLES, Kind.TEMPLATE, Kind.CREDIT):  # gateways wrap these in any status
        return told
    if status in _BUSY_STATUS:
        return Kind.BUSY
    if status in _BROKEN_STATUS or (status >= 500 and status not in _NO_API_STATUS):
        return Kind.BROKEN
    if told:
        return told
    return _STATUS.get(status, Kind.NO_API if status in _NO_API_STATUS else Kind.REFUSED)


def _not_json(status: int, headers: Mapping[str, str], text: str, now: float | None) -> Meaning:
    """A page, a few words or nothing: of a web server or a proxy before the model's server, or of another site."""
    page = "<html" in text[:2000].lower() or "<!doctype" in text[:200].lower()
    title = re.search(r"<title[^<>]*>([^<]*)</title>", text, re.I) or re.search(r"<h1[^<>]*>([^<]*)</h1>", text, re.I)
    problem = _line((title[1] if title else text if not page else "") or f"status {status}")
    if status < 300 and not text.strip():
        return Meaning(Kind.BROKEN, "an empty response")
    if status < 300 and text.lstrip().startswith("{"):
        return Meaning(Kind.BROKEN, "a response that breaks off")
    if status < 300 or (page and status in (400, 401, 403, 404)):
        what = "a web page, such as a login page" if page else "something else"
        return Meaning(Kind.NO_API, f"it answers with {what}, and not with JSON ({problem})")
    kind = _kind(status, problem)
    return _later(Meaning(kind, problem), headers, problem, now)


def _later(meaning: Meaning, headers: Mapping[str, str], said: str, now: float | None) -> Meaning:
    """With the wait that is asked for; a server that says when it will be there again is busy, and not broken."""
    if meaning.kind not in (Kind.BUSY, Kind.BROKEN):
        return meaning
    wait = wait_asked_for(headers, said, now)
    return replace(meaning, kind=Kind.BUSY if wait is not None else meaning.kind, wait=wait)


def _status_inside(body: Mapping[str, Any]) -> int:
    """The status of an error that a gateway wrapped into a success; 502 where it names none, or gave no choices."""
    error = body.get("error")
    for place in (error if isinstance(error, dict) else {}, body):
        for name in ("code", "status", "status_code"):
            if str(place.get(name)).isdecimal() and int(place[name]) in range(400, 600):
                return int(place[name])
    return 502


def _said(body: Mapping[str, Any]) -> Iterator[str]:
    """The server's own words, the message first: not the request, which some quote beside it."""
    for place in (body.get("error"), body):
        if isinstance(place, str):
            yield place
        elif isinstance(place, dict):
            yield from (place[name] for name in ("message", "detail", "msg") if isinstance(place.get(name), str))
            yield from (str(place[name]) for name in ("code", "type", "error_type", "status") if place.get(name))
            inner = place.get("innererror") or place.get("metadata") or {}
            yield from (
                inner[name] for name in ("code", "raw") if isinstance(inner, dict) and isinstance(inner.get(name), str)
            )
    for detail in body["detail"] if isinstance(body.get("detail"), list) else ():
        if isinstance(detail, dict):
            yield f"{'.'.join(map(str, detail.get('loc', ())))}: {detail.get('msg', '')} ({detail.get('type', '')})"


def _parameter(body: Mapping[str, Any], said: list[str], sent: Iterable[str]) -> str:
    """The parameter among those `sent` that is complained about; "" where none is."""
    names = {name: name for name in sent if name not in ("messages", "model", "stream")}
    names |= {alias: name for alias, name in _ALSO_CALLED.items() if name in names}
    words, error = " ".join(said), body.get("error")
    if not _COMPLAINT.search(words):
        return ""
    if isinstance(error, dict) and str(error.get("param")) in names:
        return names[str(error["param"])]
    found = {alias: re.search(rf"(?<![\w-]){re.escape(alias)}(?![\w-])", words, re.I) for alias in names}
    placed = {names[alias]: match.start() for alias, match in found.items() if match}
    return min(placed, key=lambda name: placed[name], default="")


def _instead(said: list[str], parameter: str) -> str:
    """The name that the server wants in its place, "" where it names none."""
    named = _INSTEAD.search(" ".join(said))
    if named and named[1] != parameter:
        return named[1]
    known = parameter == "max_tokens" and "max_completion_tokens" in " ".join(said)
    return "max_completion_tokens" if known else ""


def _json(text: str) -> dict[str, Any] | None:
    """The response's object. A list with one error in it, as Google's servers send it, is that error."""
    try:
        body = json.loads(without_halves(text.encode(errors="replace")))
    except (ValueError, RecursionError):  # the latter: a hundred thousand brackets
        return None
    if isinstance(body, list) and body and isinstance(body[0], dict):
        body = body[0]
    return body if isinstance(body, dict) else None


def _line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:300]
