"""`python -m components.serving.engines.guard`: runs a server that is not ours, says when it answers, and ends it."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from components.core.errors import UserError
from components.core.processes import end, watch_owner, write_ready_file
from components.serving.description import endpoint_info
from components.serving.remedies import KeyRefusedError

POLL_INTERVAL_S = 0.5
INFO_TIMEOUT_S = 5.0


def guard(command: list[str], url: str, ready_file: Path, model_sha: str) -> int:
    """Run the command until it ends, or until this process gets SIGTERM; the ready file is there once it answers.

    Servers start processes of their own (vLLM: one an engine), which are ended with them. Returns the exit code, 2
    where there is no such program, or where it wants a key.
    """
    try:
        process = subprocess.Popen(command, start_new_session=True)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 2

    def stop(*_: object) -> None:
        end(process.pid, group=True)
        sys.exit(0)

    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, stop)
    while process.poll() is None:
        try:
            if not ready_file.exists() and _answers(url):
                write_ready_file(ready_file, url, model_sha)
        except KeyRefusedError as error:
            end(process.pid, group=True)
            print(error, file=sys.stderr)
            return 2
        time.sleep(POLL_INTERVAL_S)
    ready_file.unlink(missing_ok=True)
    end(process.pid, group=True)
    return process.returncode


def _answers(url: str) -> bool:
    try:
        endpoint_info(url, timeout=INFO_TIMEOUT_S)
    except KeyRefusedError:
        raise
    except UserError:
        return False
    return True


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.serving.engines.guard", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--model-sha", required=True)
    parser.add_argument("--owner-pid", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.owner_pid:
        watch_owner(options.owner_pid)
    return guard(options.command, options.url, options.ready_file, options.model_sha)


if __name__ == "__main__":
    sys.exit(main())
