"""`python -m components.training.launch.torchrun ...`: torchrun, which ends with 2 where one of its processes did.

torchrun itself ends with 1 whatever happened, after a page of traces. A pod's exit code is what the cluster decides by:
2 is a mistake that comes again in each try, and ends a TrainJob at once (the chart's training runtime; issue 14).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from components.training.launch.request import LESS_MEMORY, PROBLEM

MISTAKE = 2  # as the worker ends after a UserError
# The other nodes fail, too, when one does. They wait for so long that the cluster hears first of the one that made a
# mistake, or was taken away.
PEER_PAUSE_S = 30.0


def main() -> int:
    """Run the command line; returns the exit code. torchrun reads the rest from PET_* (Kubeflow Trainer)."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun(sys.argv[1:])
    except ChildFailedError as error:
        codes = sorted({failure.exitcode for failure in error.failures.values()})
        if MISTAKE in codes:
            return MISTAKE
        if -signal.SIGKILL in codes:  # nobody else may do so in a pod, and who does it here knows it
            told = {
                "problem": "a training process was killed, as the kernel does where memory ends",
                "remedy": LESS_MEMORY,
            }
            print(f"{PROBLEM}{json.dumps(told)}", file=sys.stderr)
        print(f"training processes of this node ended with exit code {', '.join(map(str, codes))}", file=sys.stderr)
        if os.environ.get("PET_NNODES", "1") != "1":
            time.sleep(PEER_PAUSE_S)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
