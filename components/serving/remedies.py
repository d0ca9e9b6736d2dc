"""What a user can do about an endpoint that refuses all requests, or answers none."""

from __future__ import annotations

from components.core.errors import UserError
from components.serving.address import ANNOTATOR_KEY, JUDGE_KEY, Address
from components.serving.meaning import Kind, Meaning

_OPTIONS = {
    JUDGE_KEY: "--judge-model (or serving.judge_model in the recipe)",
    ANNOTATOR_KEY: "--annotator-model (or serving.annotator_model in the recipe)",
}
_TEMPERATURES = (
    "sampling.temperature, judging.temperature, annotation.comparison_temperature, mt_bench.grading.temperature"
)


class KeyRefusedError(UserError):
    """No waiting helps."""


def name_it(address: Address) -> str:
    """How the model of this endpoint is named."""
    option = _OPTIONS.get(address.key_variable)
    return f"Name the model with {option}." if option else "Serve the model there under a name that it can be asked by."


def refusal(address: Address, meaning: Meaning) -> UserError:
    """What concerns every request of a stage, as one message with its remedy."""
    where, said = f"the endpoint {address.shown}", f" ({meaning.problem})" if meaning.problem else ""
    asked, variable = repr(address.model or "no name"), address.key_variable
    has_key = "the key in it" if address.key() else "it, which is not set"
    if meaning.kind is Kind.KEY and address.is_own:
        remedy = "A server of the run is asked without one: start it so (for vLLM without --api-key and VLLM_API_KEY)."
        return KeyRefusedError(f"{where} refused the key{said}", remedy)
    told: dict[Kind, tuple[str, str]] = {
        Kind.NAME: (f"{where} refused the model's name {asked}{said}", name_it(address)),
        Kind.KEY: (f"{where} refused the key{said}", f"Check {variable}: {has_key}; it goes to this endpoint alone."),
        Kind.CREDIT: (f"{where} refused a request: no credit is left{said}", "Pay there, or name another endpoint."),
        Kind.TEMPLATE: (
            f"{where} refused a request: its model has no chat template{said}",
            "Start the server with one (vLLM: --chat-template), or serve a model that was tuned for conversations.",
        ),
        Kind.ROLES: (
            f"{where} refused a conversation even without a system role{said}",
            "Serve the model with a template that takes turns of user and assistant.",
        ),
        Kind.NO_API: (
            f"{where} does not answer as OpenAI's API does: {meaning.problem}",
            "Give the URL under which chat completions are found, with or without /v1; a private certificate goes into "
            "the file that SSL_CERT_FILE names.",
        ),
    }
    if meaning.kind is Kind.PARAMETER:
        return _parameter(where, said, meaning.parameter)
    general = (
        f"{where} refused a request{said}",
        "Its own log says more; its model's chat template must know what it is asked (system messages, several turns).",
    )
    refused = KeyRefusedError if meaning.kind is Kind.KEY else UserError
    return refused(*told.get(meaning.kind, general))


def _parameter(where: str, said: str, parameter: str) -> UserError:
    """A setting of the recipe that cannot be had: left out, it would change what is measured."""
    remedies = {
        "temperature": f"Set to 1 what is asked with ({_TEMPERATURES}), or name another model.",
        "top_p": "Set to 1 what is asked with (sampling.top_p, judging.top_p), or name another model.",
        "max_tokens": "Lower what is asked for (sampling.max_tokens, judging.max_tokens), or name another model.",
    }
    remedy = remedies.get(parameter, "Name another model, or another endpoint.")
    return UserError(f"{where} refused a request: the recipe's {parameter} cannot be had there{said}", remedy)
