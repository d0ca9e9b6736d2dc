"""Processes and ports on this machine."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, suppress


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def end_group(pid: int, patience: float = 15.0) -> None:
    """SIGTERM the process group led by `pid`, SIGKILL what is left after `patience` seconds."""
    for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not alive(pid):
                return
            time.sleep(0.05)


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
