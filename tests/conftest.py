"""What several test folders share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_recipe import write_tiny_recipe


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a recipe whose whole loop runs in about two minutes, with its files beside it."""
    return write_tiny_recipe(tmp_path_factory.mktemp("tiny"))
