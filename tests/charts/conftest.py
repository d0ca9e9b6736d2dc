from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.chart import VALUES


@pytest.fixture(params=VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def values(request: pytest.FixtureRequest) -> Path:
    """Each tested set of values in turn."""
    return Path(request.param)
