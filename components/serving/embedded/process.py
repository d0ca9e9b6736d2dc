"""The process around the server: its port, its ready file, its owner, its end."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from pathlib import Path

from components.core.errors import UserError
from components.core.processes import alive

log = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises UserError when the address cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Without this a second server could take the same port while the first one still loads.
        listener.listen()
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}", "Choose another --host or --port."
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where the server is reached from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (no binding here)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_ready_file(path: Path, url: str) -> None:
    """Say that requests are served, in one atomic step: {"pid": ..., "url": ...}."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"pid": os.getpid(), "url": url}))
    temporary.replace(path)


def end_at_once_on_signals() -> None:
    """SIGTERM and SIGINT end the process with code 0.

    While it serves, uvicorn takes these signals, lets answers go out for a moment and raises them again afterwards.
    The decode thread may be in the middle of a long product then; waiting for it is of no use to anybody.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    log.info("%s: stopped", signal.Signals(number).name)
    os._exit(0)


def watch_owner(pid: int) -> None:
    """Stop this process when another one is gone."""
    threading.Thread(target=_end_after, args=(pid,), name="owner", daemon=True).start()


def _end_after(pid: int) -> None:
    while alive(pid):
        time.sleep(1.0)
    log.info("the owner, process %d, is gone", pid)
    os.kill(os.getpid(), signal.SIGTERM)
