"""Processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from components.core.local_files import write_whole

POLL_INTERVAL_S = 0.05
OWNER_POLL_INTERVAL_S = 0.5


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet reaped does not. Reaps it where it is our child."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # The state follows the name in parentheses, which may itself hold any character.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # no /proc: macOS
        return True
    return state not in ("Z", "X")


def killed_for_memory() -> int:
    """How many processes of this machine the kernel has killed for want of memory since it started; 0 where it does not
    say."""
    with suppress(OSError):
        counted = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counted.get("oom_kill", 0))
    return 0


def processes() -> Iterator[tuple[int, int, list[str]]]:
    """Process id, its parent's, and the command of every process that we may see."""
    if not Path("/proc/self/stat").exists():  # macOS
        listed = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True)  # noqa: S607
        for line in listed.stdout.splitlines():
            own, its_parent, *words = line.split()
            yield int(own), int(its_parent), words
        return
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended just now
        yield int(folder.name), parent, command


def end(pid: int, timeout_s: float = 15.0, group: bool = False) -> None:
    """SIGTERM a process, or the group that it leads; SIGKILL what still runs after `timeout_s`."""
    send: Callable[[int, int], None] = os.killpg if group else os.kill
    for sign, seconds in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        try:
            send(pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not alive(pid):
                return
            time.sleep(POLL_INTERVAL_S)


def watch_owner(pid: int) -> None:
    """Send this process SIGTERM when another one is gone."""

    def watch() -> None:
        while alive(pid):
            time.sleep(OWNER_POLL_INTERVAL_S)
        print(f"the owner, process {pid}, is gone", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="owner", daemon=True).start()


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use; where the system does not tell (macOS), they are only counted."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def write_ready_file(path: Path, url: str, model_sha: str | None) -> None:
    """Say in one atomic step that this process serves the model of that digest at the URL."""
    write_whole(path, json.dumps({"pid": os.getpid(), "url": url, "model_sha": model_sha}))


def free_ports(count: int, offset: int = 0) -> list[int]:
    """Ports that nobody listens on just now, and with an offset those that many above are free as well."""
    ports: list[int] = []
    with ExitStack() as held:  # until the last one is found, so that none is found twice
        while len(ports) < count:
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
            if offset:
                try:
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
                except (OSError, OverflowError):  # taken, or beyond the last port
                    continue
            ports.append(port)
    return ports
