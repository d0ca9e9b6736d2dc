"""The shell around a stage as a pipeline's step: errors, the run's journal, the metrics that the KFP UI shows."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from components.core.errors import UserError
from components.core.journal import write_journal
from components.core.progress import emit
from components.core.records import Manifest
from components.core.store import join


class Metrics(Protocol):
    """kfp's dsl.Metrics, as far as steps use it."""

    def log_metric(self, metric: str, value: float) -> None: ...


@contextmanager
def report_errors(name: str, goes_on: bool = False) -> Iterator[None]:
    """A UserError ends the step with one message and exit code 2; anything else leaves its traceback in the log.

    `goes_on` is for the second part of a step, which has been announced.
    """
    if not goes_on:
        emit("step_start", step=name)
    try:
        yield
    except UserError as error:
        print(f"error in {name}: {error}", file=sys.stderr, flush=True)
        emit("error", step=name, problem=error.problem, remedy=error.remedy, trace=traceback.format_exc())
        raise SystemExit(2) from error
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        remedy = "This is a defect: --debug shows the traceback; please report it."
        emit("error", step=name, problem=problem, remedy=remedy, trace=traceback.format_exc())
        raise


def run_stage(root: str, run: str, name: str, make: Callable[[], Manifest], metrics: Metrics) -> str:
    """Make one stage as the step `name` of a run; returns its URI. `name` is "<model>/<stage>", e.g. "m1/judging"."""
    start = time.time()
    with report_errors(name):
        manifest = make()
        uri = join(root, manifest.stage, manifest.key)
        entry = {
            "name": name,
            "uri": uri,
            "key": manifest.key,
            "digest": manifest.digest,
            "started": start,
            "seconds": round(time.time() - start, 1),
            "reused": manifest.reused,
            "counts": manifest.counts.model_dump(),
            "metrics": manifest.metrics,
        }
        write_journal(root, run, "stages", name, entry)
    for metric, value in [*manifest.metrics.items(), *manifest.counts.kept.items()]:
        metrics.log_metric(metric, value)
    emit("step_end", step=name, reused=manifest.reused, kept=manifest.counts.kept, dropped=manifest.counts.dropped)
    return uri
