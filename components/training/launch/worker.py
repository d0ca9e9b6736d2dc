"""One process of a training that torchrun started: `torchrun.py ... -m components.training.launch.worker REQUEST`."""

from __future__ import annotations

import datetime
import json
import os
import sys

from components.core.errors import UserError
from components.core.ledger import opened_ledger
from components.core.local_files import machine_lacks
from components.training.distributed import barrier, require_gpus
from components.training.launch.request import PROBLEM, TrainingRequest

# One process may be busy alone for long (a judge is asked, a large model is stored) while the others wait for it.
COLLECTIVE_TIMEOUT = datetime.timedelta(days=2)


def run(request: TrainingRequest) -> None:
    """Join the other processes and train; raises UserError where they are not as many as the request says."""
    from torch import distributed

    require_gpus(request.gpus)  # before the others are waited for
    with opened_ledger("computing"):
        _join(request.processes)
        request.make()
    barrier()
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _join(expected: int) -> None:
    import torch
    from torch import distributed

    if "RANK" not in os.environ:
        raise UserError("the training worker was started alone", "Start it with torchrun, as the sft and dpo steps do.")
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=COLLECTIVE_TIMEOUT)
    processes = distributed.get_world_size()
    if processes != expected:
        raise UserError(
            f"{processes} processes train where the recipe asks for {expected}",
            "resources.nodes x resources.gpus (1 without GPUs) must be what torchrun starts; "
            "with Kubeflow Trainer the training runtime needs mlPolicy.torch.",
        )


def main(argument: str) -> int:
    """Exit code 0, or 2 after a UserError, which goes to the log as one line that the step reads back."""
    try:
        run(TrainingRequest.model_validate_json(argument))
    except Exception as error:
        told = error if isinstance(error, UserError) else machine_lacks(error)
        if told is None:
            raise
        line = json.dumps({"problem": told.problem, "remedy": told.remedy})
        sys.stderr.write(f"{PROBLEM}{line}\n")  # one write: print's two let another process's line come between
        sys.stderr.flush()
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
