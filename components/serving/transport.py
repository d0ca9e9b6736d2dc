"""One response, whole and in time: a server may drip, never end, or unpack to more than there is memory (issue 16)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from components.serving.address import Address

if TYPE_CHECKING:
    import httpx2

LARGEST_RESPONSE = 64 * 1024 * 1024  # bytes, unpacked: a completion with log-probabilities takes some megabytes


class Connections:
    """HTTP clients for one address, one a request in flight.

    A client of httpx looks through all of its connections for each request: with 500 of them that takes 4 ms of CPU,
    with one a fifth of that.
    """

    def __init__(self, address: Address) -> None:
        import httpx2

        self._address, self._spare = address, list[httpx2.AsyncClient]()
        self._tls = httpx2.create_ssl_context(trust_env=not address.is_own)

    @contextmanager
    def one(self) -> Iterator[httpx2.AsyncClient]:
        """The one that was used last, whose connection is open still, or another."""
        import httpx2

        if self._spare:
            client = self._spare.pop()
        else:
            environment = not self._address.is_own  # proxies
            client = httpx2.AsyncClient(headers=self._address.headers(), trust_env=environment, verify=self._tls)
        try:
            yield client
        finally:
            self._spare.append(client)

    async def close(self) -> None:
        while self._spare:
            await self._spare.pop().aclose()


async def fetch(http: httpx2.AsyncClient, request: httpx2.Request, seconds: float) -> tuple[httpx2.Response, str]:
    """The response and its text, after at most so many seconds in all (httpx's own limits are for each piece).

    Raises TimeoutError, or httpx2.RequestError, also where the response is larger than LARGEST_RESPONSE.
    """
    import httpx2

    async with asyncio.timeout(seconds):
        response = await http.send(request, stream=True)
        try:
            data = bytearray()
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > LARGEST_RESPONSE:
                    raise httpx2.ReadError(f"a response of more than {LARGEST_RESPONSE >> 20} MB")
            return response, data.decode(errors="replace")
        finally:
            await response.aclose()
