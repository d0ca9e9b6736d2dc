"""What an endpoint does not take, left out or called by its own name: found out once, and remembered (issue 13)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from components.base_model.chat import in_users_turn
from components.serving.address import ANY_NAME
from components.serving.meaning import Kind, Meaning

if TYPE_CHECKING:
    from components.serving.client import Request

_LOGPROBS = ("logprobs", "top_logprobs")
# Without these an answer is still what the recipe asks for: texts are cut here, too, and 1 is every server's default.
_SPARED = {
    "seed": "takes no seed: its answers cannot be repeated",
    "stop": "takes no stop sequences: its texts are cut here",
    "logprobs": "refuses log-probabilities: asking without them",
    "top_logprobs": "refuses log-probabilities: asking without them",
    "top_p": "takes no top_p of 1: asking without it",
    "temperature": "takes no temperature of 1: asking without it",
}
_DEFAULT_IS_1 = ("top_p", "temperature")


@dataclass
class Adjustments:
    """Parameters that an endpoint is not sent, or under another name; whether its template knows a system role."""

    without: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    no_system_role: bool = False

    def body(self, request: Request, model: str) -> dict[str, Any]:
        """The request as this endpoint takes it."""
        sampling = request.sampling
        messages = in_users_turn(request.messages) if self.no_system_role else request.messages
        body: dict[str, Any] = {
            "model": model or ANY_NAME,
            "messages": messages,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            "temperature": sampling.temperature,  # 0 is greedy; left out it would be 1
        }
        if sampling.top_p < 1 or sampling.temperature > 0:
            # 1 is not left out: vLLM's default is what the model's generation_config.json says. Greedily it is moot.
            body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        left_out = {name for name in self.without if name not in _DEFAULT_IS_1 or body.get(name) == 1}
        return {self.renamed.get(name, name): value for name, value in body.items() if name not in left_out}

    def adjust(self, body: dict[str, Any], meaning: Meaning) -> str | None:
        """Note what a refusal of the request `body` says: in words, "" where that was known, None where it cannot be
        done without."""
        if meaning.kind is Kind.ROLES:
            known, self.no_system_role = self.no_system_role, True
            asked_with_one = body["messages"] != in_users_turn(body["messages"])
            told = "knows no system role: its text goes into the user's turn"
            return (None if not asked_with_one else "") if known else told if asked_with_one else None
        if meaning.kind is Kind.NAME:  # of a server that takes its own name alone, and lists none
            known = "model" in self.without
            self.without.add("model")
            return None if body.get("model") != ANY_NAME else "" if known else "knows another name: asking without one"
        name = meaning.parameter
        if meaning.instead and meaning.instead not in body:
            known, self.renamed[name] = name in self.renamed, meaning.instead
            return "" if known else f"calls {name} {meaning.instead}: asking so"
        if name not in _SPARED or (name in _DEFAULT_IS_1 and body[name] != 1):
            return None
        known = name in self.without
        self.without |= set(_LOGPROBS) if name in _LOGPROBS else {name}
        return "" if known else _SPARED[name]


@cache
def adjustments_of(url: str, model: str) -> Adjustments:
    """What is known of an endpoint, the same for all clients in this process."""
    return Adjustments()
