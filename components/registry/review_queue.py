"""Items of a review as traces in a queue of MLflow's, and what people answered there (MLflow 3.14 and newer)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.registry.client import RUN, not_there, registry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Trace

ITEM, MODEL = "srlm.item", "srlm.model"
PAGE = 100  # traces a request


@dataclass(frozen=True)
class Asked:
    """An item as a person sees it. `question` is the name of what is asked: `options` to choose from, else a score."""

    item: str
    question: str
    options: Sequence[str]
    scale: tuple[float, float]
    prompt: str
    answers: Mapping[str, str]


@dataclass(frozen=True)
class Answered:
    """What one person said last of an item of the model."""

    item: str
    model: str
    person: str
    value: Any


def send(tracking_uri: str, experiment: str, run: str, model: str, items: Sequence[Asked]) -> list[str]:
    """Put the items into a queue for each question, those that are there already aside; returns the queues' names.

    Raises UserError where the server or the installed client has no review queues.
    """
    queues = _client_of_queues()
    with registry(tracking_uri) as client, _named_for_the_process(tracking_uri) as mlflow:
        place = _experiment(client, experiment)
        there = {t.info.tags.get(ITEM): t.info.trace_id for t in _traces(client, place, run)}
        names = []
        for question in dict.fromkeys(one.question for one in items):
            asked = [one for one in items if one.question == question]
            schema = _schema(place, asked[0])
            traces = [there.get(one.item) or _trace(client, place, run, model, one) for one in asked]
            mlflow.flush_trace_async_logging()
            name = f"{run} {model}: {question}"
            queue = _queue(queues, place, name, schema)
            queues.add_items_to_review_queue(queue, item_ids=traces)
            names.append(name)
        return names


def answers(tracking_uri: str, experiment: str, run: str) -> list[Answered]:
    """What people have answered of the run's items so far: each person's last word on each of them."""
    _client_of_queues()
    with registry(tracking_uri) as client:
        found = client.get_experiment_by_name(experiment)
        traces = _traces(client, found.experiment_id, run) if found else []
    said: dict[tuple[str, str], Answered] = {}
    for trace in traces:
        item, model = trace.info.tags.get(ITEM, ""), trace.info.tags.get(MODEL, "")
        for one in sorted(trace.info.assessments, key=lambda one: one.last_update_time_ms or 0):
            if one.feedback is not None and one.valid and one.source.source_type == "HUMAN":
                person = one.source.source_id or "somebody"
                said[item, person] = Answered(item, model, person, one.feedback.value)
    return list(said.values())


@contextmanager
def _named_for_the_process(tracking_uri: str) -> Iterator[Any]:
    """Questions and queues are made at the server that the process is told of; who comes later is told of none.

    MLflow keeps it as a variable of the environment, too, which whatever is started afterwards would follow.
    """
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield mlflow
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None takes the variable away


def _client_of_queues() -> Any:
    try:
        from mlflow.genai import review_queues
    except ImportError as error:
        raise UserError(
            f"the MLflow that is installed here has no review queues ({error})",
            "Install mlflow 3.14 or newer, not mlflow-skinny alone; or label on srlm review's own page.",
        ) from error
    return review_queues


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _traces(client: MlflowClient, experiment: str, run: str) -> list[Trace]:
    found, token = list[Any](), None
    while True:
        page = client.search_traces(
            locations=[experiment], filter_string=f"tags.`{RUN}` = '{run}'", max_results=PAGE, page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _trace(client: MlflowClient, experiment: str, run: str, model: str, asked: Asked) -> str:
    """A trace whose input is the prompt, and whose output are the answers; nothing of what the judge said."""
    tags = {RUN: run, MODEL: model, ITEM: asked.item}
    span = client.start_trace(asked.question, inputs={"prompt": asked.prompt}, experiment_id=experiment, tags=tags)
    client.end_trace(span.trace_id, outputs=dict(asked.answers))
    return str(span.trace_id)


def _schema(experiment: str, asked: Asked) -> str:
    """The id of the question, which is made where it is new."""
    from mlflow.exceptions import MlflowException
    from mlflow.genai import label_schemas

    try:
        return str(label_schemas.get_label_schema(asked.question, experiment_id=experiment).schema_id)
    except MlflowException as error:
        if not not_there(error):
            raise
    low, high = asked.scale
    how: Any = label_schemas.InputNumeric(min_value=low, max_value=high)
    if asked.options:
        how = label_schemas.InputCategorical(options=list(asked.options))
    made = label_schemas.create_label_schema(asked.question, type="feedback", input=how, experiment_id=experiment)
    return str(made.schema_id)


def _queue(queues: Any, experiment: str, name: str, schema: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(queues.get_review_queue(name=name, experiment_id=experiment).queue_id)
    except MlflowException as error:
        if not not_there(error):
            raise
    made = queues.create_review_queue(
        name, queue_type="custom", users=[], schema_ids=[schema], experiment_id=experiment
    )
    return str(made.queue_id)
