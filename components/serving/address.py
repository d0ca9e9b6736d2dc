"""An endpoint as a value: where it is, what the model is called there, which key it takes (issue 13)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from components.core.errors import UserError

JUDGE_KEY, ANNOTATOR_KEY, ENDPOINT_KEY = "SRLM_JUDGE_API_KEY", "SRLM_ANNOTATOR_API_KEY", "SRLM_ENDPOINT_API_KEY"
PATIENCE_S = 900.0
ANY_NAME = "dummy"  # servers with one model take any name; our launch of vLLM knows this one
# Where a URL says by itself which version of the API it is: .../v1, .../v1beta/openai, Azure's .../deployments/NAME
_VERSIONED = re.compile(r"/(v\d\w*|openai/deployments/[^/]+)(?=/|$)")
_ROUTES = re.compile(r"/(chat/completions|completions|models|info|health)$")


@dataclass(frozen=True)
class Address:
    """A server of OpenAI's API. The key itself is never part of it: it goes from the environment into requests alone.

    `url` may end in /v1, hold a path, or neither. `model` is the name there, "" where it serves one only. The variable
    `key_variable` of the environment may hold its key; "" is a server of the run itself, which gets none and is asked
    without a proxy. `patience` are seconds that may pass without any answer before it is given up. `template_arguments`
    (name, value) are sent with each request. `revive` is a server's that comes back by itself after it has gone: it
    waits for that, telling as it goes, returns whether there was anything to wait for, and raises UserError where there
    is none. `places` are the requests that it works on at once, 0 where that is not known. `replicas` looks up the URLs
    of the servers behind it, where they can be asked one by one.
    """

    url: str
    model: str = ""
    key_variable: str = ""
    patience: float = PATIENCE_S
    template_arguments: tuple[tuple[str, int | bool | str], ...] = ()
    revive: Callable[[], bool] | None = field(default=None, compare=False, repr=False)
    places: int = field(default=0, compare=False)
    replicas: Callable[[], list[str]] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{self.shown!r} is no URL of an endpoint", "Write it as http://host:port or https://host.")

    @property
    def is_own(self) -> bool:
        """Whether the run itself started it."""
        return not self.key_variable

    @property
    def shown(self) -> str:
        """The URL for messages and records: without a password or a query, which may hold one."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")).rstrip("/")

    def route(self, path: str) -> str:
        """The URL of a route: "/v1/..." below the API's version, others ("/info") beside it; a query stays."""
        parts = urlsplit(self.url)
        base = _ROUTES.sub("", parts.path.rstrip("/"))
        version = _VERSIONED.search(base)
        if path.startswith("/v1/"):
            place = base + path.removeprefix("/v1") if version else base + path
        else:
            place = (base[: version.start()] if version else base) + path
        return urlunsplit((parts.scheme, parts.netloc, place, parts.query, ""))

    def key(self) -> str:
        """The key, "" where there is none. Raises UserError, without it, where no header can hold it."""
        key = os.environ.get(self.key_variable, "").strip() if self.key_variable else ""
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UserError(
                f"{self.key_variable} holds what no key can: a space, a line break or a letter outside ASCII",
                "Set it to the key alone.",
            )
        return key

    def without_key(self, text: str) -> str:
        """What a server says, with the key struck out where it repeats it."""
        key = self.key()
        return text.replace(key, "***") if key else text

    def headers(self) -> dict[str, str]:
        """What goes along with every request. Azure wants a key under a name of its own."""
        key = self.key()
        if not key:
            return {}
        host = urlsplit(self.url).hostname or ""
        of_azure = {"api-key": key} if host.endswith((".azure.com", ".azure-api.net")) else {}
        return {"Authorization": f"Bearer {key}", **of_azure}


def address_of(endpoint: str | Address) -> Address:
    """A bare URL is a server of the run itself."""
    return endpoint if isinstance(endpoint, Address) else Address(endpoint)
