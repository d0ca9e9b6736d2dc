"""What an endpoint says that it serves, asked before any work; where it says nothing, one question tells (issue 13)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from components.core.errors import UserError
from components.core.hashing import content_hash
from components.serving.address import ANY_NAME, Address, address_of
from components.serving.meaning import Kind, Meaning, meaning_of, unreachable
from components.serving.remedies import name_it, refusal
from components.serving.transport import fetch

QUESTION_TIMEOUT_S = 120.0
OWN_TIMEOUT_S = 10.0


def endpoint_info(endpoint: str | Address, timeout: float = 10.0) -> dict[str, Any]:
    """What is served: `model_id`, `model_sha` and `max_total_tokens` where they are told, `models`, all names there.

    From TGI's `/info`, else `/v1/models`, else from the answer to one question: what is told there is no name that it
    must take (`listed` is false). Raises UserError when nothing answers.
    """
    address, problem = address_of(endpoint), ""
    for path in ("/info", "/v1/models"):
        body, problem = _get(address, path, timeout)
        if path == "/info" and body.get("model_id"):
            return {"models": [body["model_id"]], **body}
        models = [model for model in body.get("data") or () if isinstance(model, dict) and model.get("id")]
        if path != "/info" and models:
            return _described(models, address.model)
    meaning = ask_one_question(address)
    if meaning.kind is Kind.BROKEN and meaning.responded:
        raise UserError(
            f"the endpoint {address.shown} does not answer a question ({meaning.problem or problem})",
            f"Its own log says more. {name_it(address)}",
        )
    if meaning.kind in (Kind.BROKEN, Kind.NO_API):
        raise _silent(address, meaning.problem or problem)
    told = str((meaning.body or {}).get("model") or "")
    return {"model_id": address.model or told or None, "models": [told] if told else [], "listed": False}


def _described(models: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """One model of the list, as TGI's /info calls it; vLLM and others name its context there, few a revision."""
    model = next((model for model in models if model["id"] == name), {} if name else models[0])
    return {
        "model_id": name or model["id"],
        "model_sha": model.get("revision") or model.get("model_sha"),
        "max_total_tokens": model.get("max_model_len") or model.get("context_length"),
        "models": [one["id"] for one in models],
        "one_model": len({str(one.get("root") or one["id"]) for one in models}) == 1,  # vLLM lists each of its names
    }


def check_endpoint(address: Address) -> None:
    """Before any work: raises UserError where its model is not clear, or one question is refused."""
    meaning = ask_one_question(resolve(address))
    if not meaning.responded:
        raise _silent(address, meaning.problem)


def resolve(endpoint: str | Address) -> Address:
    """The address with the model's name: the only one there, where none is given. Raises UserError for several."""
    address = address_of(endpoint)
    if address.model:
        return address
    if address.is_own:
        return _own(address)
    info = endpoint_info(address)
    if len(info["models"]) > 1 and not info.get("one_model"):
        some = ", ".join(map(str, info["models"][:10])) + (", ..." if len(info["models"]) > 10 else "")
        raise UserError(f"the endpoint {address.shown} serves several models: {some}", name_it(address))
    return replace(address, model=str(info.get("model_id") or "") if info.get("listed", True) else "")


def _own(address: Address) -> Address:
    """A server of the run holds one model, by whatever name its command gave it; ours and TGI take any.

    One that does not answer now is waited for where it is asked.
    """
    try:
        body, told = (_get(address, path, OWN_TIMEOUT_S)[0] for path in ("/v1/models", "/info"))
    except UserError:
        return address
    if isinstance(places := told.get("max_batch_size"), int) and places > 0:  # ours says it, of TGI it is null
        address = replace(address, places=places)
    names = [str(model.get("id")) for model in body.get("data") or () if isinstance(model, dict)]
    return replace(address, model=names[0]) if names and ANY_NAME not in names else address


def endpoint_identity(endpoint: str | Address) -> str:
    """A hash of the model that an endpoint serves, by name and revision, and of the arguments that its template is
    given: part of the key of what it judged."""
    address = resolve(endpoint)
    info = endpoint_info(address)
    arguments = [dict(address.template_arguments)] if address.template_arguments else []
    return content_hash([address.model or info.get("model_id"), info.get("model_sha"), *arguments])


def ask_one_question(address: Address) -> Meaning:
    """What one chat completion of one token means. Raises UserError where it shows that none can be had."""
    question = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    body = {"model": address.model or ANY_NAME, **question}
    meaning = _request(address, "POST", "/v1/chat/completions", QUESTION_TIMEOUT_S, body)
    if meaning.kind is Kind.NAME and not address.model:  # it may serve one model, which needs no name
        without_name = _request(address, "POST", "/v1/chat/completions", QUESTION_TIMEOUT_S, question)
        meaning = without_name if without_name.kind is Kind.ANSWER else meaning
    if meaning.kind in (Kind.NAME, Kind.KEY, Kind.CREDIT, Kind.TEMPLATE) or (
        meaning.kind is Kind.NO_API and meaning.responded
    ):
        raise refusal(address, meaning)
    return meaning


def _get(address: Address, path: str, timeout: float) -> tuple[Mapping[str, Any], str]:
    """The object at a route, {} where there is none, and what was said instead. Raises UserError where nobody is."""
    meaning = _request(address, "GET", path, timeout)
    if not meaning.responded:
        raise _silent(address, meaning.problem)
    return meaning.body or {}, meaning.problem


def _silent(address: Address, problem: str) -> UserError:
    return UserError(
        f"the endpoint {address.shown} does not answer ({problem})",
        "Start the server there or correct the URL, then run again.",
    )


def _request(address: Address, method: str, path: str, timeout: float, body: Any = None) -> Meaning:
    """What one response means; at a route that is no completion any JSON object is an answer."""
    import httpx2

    async def ask() -> tuple[httpx2.Response, str]:
        async with httpx2.AsyncClient(
            headers=address.headers(), timeout=timeout, trust_env=not address.is_own
        ) as client:
            return await fetch(client, client.build_request(method, address.route(path), json=body), timeout)

    try:
        response, text = asyncio.run(ask())
        meaning = meaning_of(response.status_code, response.headers, text, body or ())
        if method == "GET" and response.status_code < 300 and isinstance(found := _object(text), dict):
            meaning = Meaning(Kind.ANSWER, body=found)
    except (httpx2.RequestError, TimeoutError) as error:
        meaning = unreachable(str(error) or type(error).__name__)
    return replace(meaning, problem=address.without_key(meaning.problem))


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
