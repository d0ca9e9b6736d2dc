"""Ports on this machine."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int, offset: int = 0) -> list[int]:
    """Ports that nobody listens on just now, and with an offset those that many above are free as well."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            port = _hold(held, 0)
            if port is None or (offset and (port + offset > 65535 or _hold(held, port + offset) is None)):
                continue
            found.append(port)
    return found


def _hold(held: ExitStack, port: int) -> int | None:
    listener = held.enter_context(socket.socket())
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return None
    return int(listener.getsockname()[1])
