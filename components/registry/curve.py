"""A training's curve in MLflow while it goes on, read from the step's events by a thread of the step that launched it.

So it is the same for a training in this process, in others of this node and in pods (launch/logs.py), none of which
needs to know of MLflow. MLflow away stops nothing: what it did not get is in the stage, with which it is made up for
when the model is registered (model_run.py).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.hashing import content_hash
from components.core.progress import STEP_EVENTS, EventFile, warn
from components.registry.client import RUN, STAGE, RegistryError, registry, write
from components.registry.model_run import CURVE, METRICS_A_REQUEST, TRAINING, training_run
from components.registry.tracking import PARENT, experiment_of, parent_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECONDS_BETWEEN_WRITES = 5.0
SECONDS_AFTER_A_FAILURE = 60.0
END_TIMEOUT_S = 20.0  # for a server that does not take the last points


@dataclass
class Training:
    """A training that goes on: of which registered model, run and model (m1, ...), and the stage that it makes."""

    registered_name: str
    run: str
    alias: str
    stage: str
    began: float = field(default_factory=time.time)
    mlflow_run: str = ""
    told: int = 0  # the last step that MLflow has, of an earlier attempt maybe
    left: list[dict[str, Any]] = field(default_factory=list)  # events that it has not

    def send(self, client: MlflowClient) -> None:
        """Log the points that are left; the run is the one that an earlier attempt has opened, or a new one."""
        from mlflow.entities import Metric

        if not self.mlflow_run:
            self._open(client)
        while self.left:
            points = self.left[:METRICS_A_REQUEST]
            metrics = [
                Metric(f"{CURVE}{name}", value, int(1000 * point["time"]), point["at"])
                for point in points
                if point["at"] > self.told
                for name, value in point["values"].items()
            ]
            for start in range(0, len(metrics), METRICS_A_REQUEST):
                write(client.log_batch, self.mlflow_run, metrics=metrics[start : start + METRICS_A_REQUEST])
            self.told = max(self.told, *(point["at"] for point in points))
            del self.left[: len(points)]

    def _open(self, client: MlflowClient) -> None:
        experiment = experiment_of(client, self.registered_name)
        if found := training_run(client, experiment, self.stage):
            self.told = max((one.step for one in client.get_metric_history(found, f"{CURVE}loss")), default=0)
            client.update_run(found, status="RUNNING")
            self.mlflow_run = found
            return
        tags = {RUN: self.run, "srlm.model": self.alias, STAGE: self.stage, TRAINING: content_hash(self.stage)}
        if parent := parent_run(client, self.registered_name, self.run):
            tags[PARENT] = parent
        start, name = int(1000 * self.began), f"{self.alias} ({self.run})"
        self.mlflow_run = str(client.create_run(experiment, start, tags, name).info.run_id)


@contextmanager
def logged_curve(tracking_uri: str, training: Training) -> Iterator[None]:
    """While the context lasts, MLflow gets the points that the step's events tell of; outside of a step nothing."""
    path, over, failed = os.environ.get(STEP_EVENTS), threading.Event(), threading.Event()
    if not path or not tracking_uri:
        yield
        return
    arguments = (tracking_uri, training, EventFile(Path(path)), over, failed)
    thread = threading.Thread(target=_log, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        failed.set()
        raise
    finally:
        over.set()
        thread.join(END_TIMEOUT_S)


def _log(
    tracking_uri: str, training: Training, events: EventFile, over: threading.Event, failed: threading.Event
) -> None:
    pause, warned = SECONDS_BETWEEN_WRITES, False
    while True:
        last = over.wait(pause)  # seen before the events are read for the last time
        training.left += [event for event in events.new() if event["kind"] == "point"]
        pause = SECONDS_BETWEEN_WRITES
        try:
            if training.left or (last and training.mlflow_run):
                with registry(tracking_uri) as client:
                    training.send(client)
                    if last:  # its time is set right when the model is registered
                        status, now = "FAILED" if failed.is_set() else "FINISHED", int(1000 * time.time())
                        write(client.set_terminated, training.mlflow_run, status, now)
        except RegistryError as error:
            pause = SECONDS_AFTER_A_FAILURE
            if not warned:
                warn(f"training goes on, and MLflow gets its curve later: {error.problem}")
            warned = True
        if last:
            return
