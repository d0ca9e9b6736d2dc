from __future__ import annotations

import pytest
from mlflow import MlflowClient


@pytest.fixture
def client(tracking_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri)
