"""Two clients that write at once: MLflow's database refuses one of them, and its request is sent again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from components.registry.client import MAX_WRITES, write

CLIENTS = 6


@pytest.mark.slow
def test_many_clients_that_set_the_same_new_tag_all_succeed(client: MlflowClient, registered_name: str) -> None:
    """Without the repetition about every second of these tags fails for somebody."""
    client.create_registered_model(registered_name)
    version = client.create_model_version(registered_name, source="s3://somewhere/else").version
    with ThreadPoolExecutor(CLIENTS) as threads:
        for tag in range(10):
            sent = [
                threads.submit(write, client.set_model_version_tag, registered_name, version, f"tag{tag}", f"{number}")
                for number in range(CLIENTS)
            ]
            for request in sent:
                request.result()
    assert len(client.get_model_version(registered_name, version).tags) == 10


def test_a_collision_that_does_not_end_is_raised_after_six_tries() -> None:
    tries = []

    def refused() -> None:
        tries.append(1)
        raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed", error_code=BAD_REQUEST)

    with pytest.raises(MlflowException, match="UNIQUE"):
        write(refused)
    assert len(tries) == MAX_WRITES


def test_another_error_is_raised_at_once() -> None:
    tries = []

    def refused() -> None:
        tries.append(1)
        raise MlflowException.invalid_parameter_value("no such version")

    with pytest.raises(MlflowException, match="no such version"):
        write(refused)
    assert len(tries) == 1
