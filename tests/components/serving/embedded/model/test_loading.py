"""What cannot be served is refused when it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError
from components.serving.embedded.model.loading import load
from tests.helpers.tiny_model import make_tiny_model


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="safetensors"):
        load(tmp_path)


def test_a_model_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-thing"}')
    with pytest.raises(UserError, match="cannot be loaded"):
        load(tmp_path)
