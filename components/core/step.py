"""What a step does around the stages that it makes: it is announced, errors are reported, the run's journal is kept."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from components.core.course import noted
from components.core.errors import UserError
from components.core.journal import write_journal
from components.core.ledger import opened_ledger
from components.core.local_files import machine_lacks
from components.core.progress import emit
from components.core.records import Manifest
from components.core.silence import never_silent
from components.core.spent import Spent
from components.core.store import join


@contextmanager
def step(name: str) -> Iterator[None]:
    """One step of a pipeline, announced by the name that a person reads, e.g. "judge M1"."""
    logging.getLogger().setLevel(logging.WARNING)  # Kubeflow's executor would have a line for each request of a library
    emit("step_start", step=name)
    with report_errors(name), never_silent():
        yield
    emit("step_end", step=name)


@contextmanager
def report_errors(name: str) -> Iterator[None]:
    """A UserError ends the process with one message and exit code 2; anything else leaves its traceback in the log."""
    try:
        yield
    except UserError as error:
        print(f"error in {name}: {error}", file=sys.stderr, flush=True)
        emit("error", step=name, problem=error.problem, remedy=error.remedy, trace=traceback.format_exc())
        raise SystemExit(2) from error
    except Exception as error:
        if told := machine_lacks(error):
            print(f"error in {name}: {told}", file=sys.stderr, flush=True)
            with suppress(OSError):  # the events may lie on that disk
                emit("error", step=name, problem=told.problem, remedy=told.remedy, trace=traceback.format_exc())
            raise SystemExit(2) from error
        problem = f"{type(error).__name__}: {error}"
        remedy = "This is a defect: --debug shows the traceback; please report it."
        emit("error", step=name, problem=problem, remedy=remedy, trace=traceback.format_exc())
        raise


def run_stage(root: str, run: str, name: str, make: Callable[[], Manifest]) -> str:
    """Make one stage of a run, or find it; returns its URI. `name` is "<model>/<stage>", e.g. "m1/judging".

    The journal says what that took in this run (`spent`), before the attempt that did it (`earlier`), and of a stage
    that was there already what was `saved`: null where that is not known. What a pod of this attempt made that was lost
    since stays as it noted it.
    """
    start = time.time()
    emit("stage_start", stage=name)
    with opened_ledger("computing") as ledger, report_errors(name):
        manifest = make()
        uri = join(root, manifest.stage, manifest.key)
        # By date (in milliseconds), as another process (torchrun's, a TrainJob's) may have made it for this step.
        reused = datetime.fromisoformat(manifest.created) < datetime.fromtimestamp(int(1000 * start) / 1000, UTC)
        entry = {
            "name": name,
            "uri": uri,
            "key": manifest.key,
            "digest": manifest.digest,
            "started": start,
            "seconds": round(time.time() - start, 1),
            "reused": reused,
            "counts": manifest.counts.model_dump(),
            "metrics": manifest.metrics,
            **_cost(manifest, ledger.total(), reused),
        }
        known = noted(root, run, "stages", name) if reused else None
        if not known or known["key"] != manifest.key:
            write_journal(root, run, "stages", name, entry)
    emit("stage_end", stage=name, reused=reused, kept=manifest.counts.kept, dropped=manifest.counts.dropped)
    return uri


def _cost(manifest: Manifest, here: Spent, reused: bool) -> dict[str, Any]:
    """What the journal says of the time of a stage, and of its cost."""
    made, earlier = manifest.spent, manifest.earlier
    if reused:
        saved = made.plus(earlier) if made and earlier else made
        return {"spent": here.model_dump(), "saved": saved.model_dump() if saved else None}
    spent = here.made_elsewhere(made) if made and "elsewhere" in here.seconds else here
    return {"spent": spent.model_dump(), "earlier": earlier.model_dump() if earlier else None}
