"""The tiny run that several files look at; their tests go to one process (BESIDE in tests/conftest.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.forecast.plan import Plan, make_plan
from tests.helpers.gateway import Gateway
from tests.helpers.scripted_endpoint import served
from tests.helpers.tiny_loop import environment, gateway, run_tiny_loop, tiny_options, tiny_recipe


@dataclass(frozen=True)
class TinyRun:
    """`folder` holds its model, its store and its home; what was planned before it; the gateway that it asked."""

    folder: Path
    before: Plan
    summary: dict[str, Any]
    gateway: Gateway


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> TinyRun:
    """A run through the gateway that came to its end. Its store is a folder."""
    folder = tmp_path_factory.mktemp("tiny")
    store = str(folder / "store")
    asked = gateway(store)
    with environment({"SRLM_HOME": str(folder / "home")}), served(asked) as url:
        options = tiny_options(store, mlflow_server, url)
        before = make_plan(tiny_recipe(folder), store, "plan", options.parameters())
        assert not (folder / "store").exists()  # a plan writes nothing
        return TinyRun(folder, before, run_tiny_loop(folder, options), asked)
