"""`python -m components.serving.kubernetes.guard RUN`: stands beside a run without Kubeflow; ends its servers with it.

Kubernetes tells it to end when the run's own container has ended, however that happened: a failed pod stays for its
log, and servers that it owns would stay with it.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from components.kubernetes.client import PATIENCE_S, connect
from components.kubernetes.removal import remove_servers


def main() -> None:
    """Waits for SIGTERM, then removes the run's servers."""

    def end(*_: int | FrameType | None) -> None:
        remove_servers(connect(patience=PATIENCE_S), sys.argv[1])
        sys.exit()

    signal.signal(signal.SIGTERM, end)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
