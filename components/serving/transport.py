"""One response, whole and in time: a server may drip, never end, or unpack to more than there is memory (issue 16)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

LARGEST_RESPONSE = 64 * 1024 * 1024  # bytes, unpacked: a completion with log-probabilities takes some megabytes


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
