"""The same items in the queues of a real MLflow server, and what people answer there."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource

from components.core.context import RunContext
from components.core.stage import read_manifest
from components.registry.review_queue import ITEM
from components.review.queue import fetch_labels, send_items
from components.review.record import record_saved
from components.review.sources import find_items
from tests.helpers.reviewed_run import make_reviewed_run

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path, registered_name: str) -> RunContext:
    made = make_reviewed_run(tmp_path)
    made.recipe["name"] = registered_name
    return made


def test_labels_made_in_mlflow_s_queue_are_those_of_the_page(run: RunContext, tracking_uri: str) -> None:
    """Ann agrees with the judge on 4 of 5 pairs and changes her mind about the last, which is the fifth; what a program
    says counts for nothing. Sending again adds nothing."""
    items = [one for one in find_items(run.store, run.run, "m2") if one.kind == "order" and not one.hard][:5]
    assert fetch_labels(run, tracking_uri) == {}
    queues = send_items(run, tracking_uri, "m2", items)
    assert queues == send_items(run, tracking_uri, "m2", items) == ["finished m2: which answer is better"]
    assert "MLFLOW_TRACKING_URI" not in os.environ  # what is started later finds its own registry
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    place = client.get_experiment_by_name(f"{run.recipe['name']} review").experiment_id
    traces = {trace.info.tags[ITEM]: trace for trace in client.search_traces(locations=[place])}
    assert traces.keys() == {item.id for item in items}
    assert "score 4" not in str([trace.to_dict() for trace in traces.values()])  # the judge's words
    other = {"first": "second", "second": "first"}
    for place, item in enumerate(items):
        said = [other[str(item.told)], str(item.told)] if place == 4 else [str(item.told)]
        for choice in [other[choice] for choice in said] if place == 0 else said:
            _say(traces[item.id].info.trace_id, choice, "HUMAN", "ann")
        _say(traces[item.id].info.trace_id, other[str(item.told)], "LLM_JUDGE", "a judge")
    (uri,) = record_saved(run, fetch_labels(run, tracking_uri)).values()
    figures = read_manifest(uri).metrics
    assert figures["human_agreement"] == pytest.approx(0.8) and figures["human_agreement_items"] == 5


def _say(trace: str, choice: str, kind: str, person: str) -> None:
    source = AssessmentSource(source_type=kind, source_id=person)
    mlflow.log_feedback(trace_id=trace, name="which answer is better", value=choice, source=source)
