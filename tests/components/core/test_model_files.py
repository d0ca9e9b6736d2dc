"""Weights are looked at before they are served or trained: in the store's folder, and in this machine's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.core import checked_files
from components.core import store as store_module
from components.core.errors import UserError
from components.core.model_files import model_folder
from tests.helpers import scripted_s3
from tests.helpers.registered_models import make_model, model_file
from tests.helpers.scripted_s3 import BUCKET, KEY


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with scripted_s3.served(scripted_s3.minio_like()) as url:
        for name, value in (("ENDPOINT_URL_S3", url), ("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", "secret")):
            monkeypatch.setenv(f"AWS_{name}", value)
        store_module._s3.cache_clear()
        yield f"s3://{BUCKET}/a"
    store_module._s3.cache_clear()


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def add(path: Path) -> None:
    path.with_name("modeling.py").write_text("import os")


CHANGES = pytest.mark.parametrize("change", [flip, cut, Path.unlink, add])


@CHANGES
def test_changed_weights_of_a_folder_are_never_served(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Before they were looked at the first time, and after it."""
    for fresh in (True, False):
        uri = make_model(tmp_path / str(fresh), "weights")
        if not fresh:
            assert model_folder(uri) == model_file(uri).parent
        change(model_file(uri))
        with pytest.raises(UserError, match="does not have the content that its manifest promises"):
            model_folder(uri)


@CHANGES
def test_a_changed_copy_is_fetched_again(
    s3: str, change: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    uri = make_model(s3, "weights")
    copy = model_folder(uri) / "model.safetensors"
    change(copy)
    assert [path.read_text() for path in model_folder(uri).iterdir()] == ["weights"]
    assert "was changed on this machine's disk: the model is fetched again" in capsys.readouterr().err


def test_what_was_looked_at_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of 140 GB is served several times in a run."""
    uri = make_model(tmp_path, "weights")
    model_folder(uri)
    monkeypatch.setattr(checked_files, "file_hash", lambda _: pytest.fail("read again"))
    model_folder(uri)
