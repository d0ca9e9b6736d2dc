"""What several test folders share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scripted_endpoint import Script, served
from tests.tiny_recipe import write_tiny_recipe


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a recipe whose whole loop runs in about two minutes, with its files beside it."""
    return write_tiny_recipe(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def serve() -> Iterator[Callable[[Script], str]]:
    """Start servers that follow a script; gives their URLs."""
    with ExitStack() as servers:
        yield lambda script: servers.enter_context(served(script))
