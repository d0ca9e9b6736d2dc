"""The last step of a run, whatever happened before it: nothing of it is left running, its summary is written."""

from __future__ import annotations

from components.core.context import read_context
from components.core.page import write_page
from components.core.step import step
from components.core.store import join
from components.gate.register import retry_unregistered
from components.kubernetes.removal import end_training
from components.run.report import summarise
from components.run.tables import summary_page
from components.serving.engines.served_model import engine_of


def finish_run(store: str, run: str, page: str) -> None:
    """Stops servers and training, registers what MLflow did not take, writes the summary and the page that shows it.

    Raises UserError where the run's first step did not get as far as to say what the run is.
    """
    with step("finish the run"):
        context = read_context(join(store, "runs", run))
        engine_of(context).stop(run)
        end_training(run)
        retry_unregistered(store, context.tracking_uri, run)
        write_page(page, f"Run {run}", *summary_page(summarise(store, run)))
