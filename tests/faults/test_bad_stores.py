"""An S3 store that fails now and then: what is made is what an honest store holds, or it is said what is wrong."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import botocore.auth
import pytest

from components.core import claims
from components.core import store as store_module
from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.records import Counts, Parent, Prompt
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.core.store import open_store
from pipelines.local.services import BUCKET, services
from tests.faults.bad_store import KINDS, bad_store

pytestmark = [pytest.mark.faults, pytest.mark.slow]
RECORDS, TRIES = 20, 40
SHARE, OF_REFUSALS = 0.2, 0.02  # of the requests: what is not asked again ends a try of forty requests
PAUSE_S = 0.5  # before whoever was refused tries again
WEIGHTS = hashlib.sha256(b"weights").digest() * 300_000  # 9.6 MB: more than one part of an upload


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(tmp_path_factory.mktemp("store")))
        with services() as local:
            for name, value in local.environment().items():
                patch.setenv(name, value)
            store_module._s3.cache_clear()
            yield local.store_url
    store_module._s3.cache_clear()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))
    monkeypatch.setattr(claims, "POLL_S", 0.1)
    yield
    store_module._s3.cache_clear()


def work(root: str, folder: Path) -> tuple[str, ...]:
    """A stage with records that are saved as they come and a model, made or gone on with, and read again."""
    stage = Stage(root, "sft", Settings(), {"data": Parent(uri="x", digest="d")})
    if not stage.manifest:
        known = stage.load_progress("prompts", Prompt)
        for number in range(RECORDS):
            one = Prompt(id=f"{number:03}", text=f"text {number}" * 20)
            if one.id not in known and number % 4 == 0:
                stage.save_progress("prompts", [one])
            known.add([one])
        (folder / "model.safetensors").write_bytes(WEIGHTS)
        stage.publish(Counts(kept={"prompts": RECORDS}), {"prompts": [known[id] for id in sorted(known)]}, folder)
    records = read_records(stage.uri, "prompts", Prompt)
    model = hashlib.sha256((model_folder(stage.uri) / "model.safetensors").read_bytes()).hexdigest()
    assert stage.manifest
    return stage.manifest.digest, *(one.text for one in records), model


def patiently(root: str, folder: Path) -> tuple[tuple[str, ...], int, float]:
    """What `work` gives once it comes to its end, how often it was refused before, and the longest try's seconds."""
    longest = 0.0
    for refused in range(TRIES):
        start = time.monotonic()
        try:
            return work(root, folder), refused, max(longest, time.monotonic() - start)
        except UserError:
            time.sleep(PAUSE_S)
        longest = max(longest, time.monotonic() - start)
    raise AssertionError(f"refused {TRIES} times")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_bad_store_holds_in_the_end_is_what_was_made(
    kind: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: Callable[..., None]
) -> None:
    (tmp_path / "model").mkdir()
    expected = work(f"s3://{BUCKET}/honest-{KINDS.index(kind)}", tmp_path / "model")
    failed = refused = lost = 0
    longest = 0.0
    for seed in range(3):
        monkeypatch.setenv("SRLM_HOME", str(tmp_path / f"{seed}"))
        root = f"s3://{BUCKET}/{KINDS.index(kind)}-{seed}"
        with bad_store(store_url, kind, OF_REFUSALS if kind == "403" else SHARE, seed) as bad:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bad.url)
            store_module._s3.cache_clear()
            made, times, seconds = patiently(root, tmp_path / "model")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store_url)
        store_module._s3.cache_clear()
        failed, refused, longest = failed + bad.failed, refused + times, max(longest, seconds)
        lost += made != expected or work(root, tmp_path / "model") != expected
        lost += any("/progress/" in name for name in open_store(root).names())
    note(f"S3: {kind}", survived=failed - refused - lost, refused=refused, lost=lost, silence=longest)
    assert (failed or kind == "403") and not lost


def test_a_store_whose_name_is_unknown_for_a_while_is_told(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: Callable[..., None]
) -> None:
    """DNS that fails: for a moment it is outlasted, for longer it is said, and the rerun goes on."""
    real, start, refused = socket.getaddrinfo, time.monotonic(), 0
    (tmp_path / "model").mkdir()

    def failing(*arguments: Any, **named: Any) -> Any:
        if time.monotonic() - start < 20:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return real(*arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    store_module._s3.cache_clear()
    made, refused, longest = patiently(f"s3://{BUCKET}/dns", tmp_path / "model")
    note("S3: its name is not resolved for 20 s", survived=1, refused=refused, silence=longest)
    assert refused and made[0]


def test_a_clock_that_jumps_by_an_hour_is_told(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: Callable[..., None]
) -> None:
    real = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *given: real(*given) + timedelta(hours=1))
    store_module._s3.cache_clear()
    with pytest.raises(UserError) as told:
        work(f"s3://{BUCKET}/clock", tmp_path)
    note("S3: the clock jumps by an hour", refused=1)
    assert "clock" in told.value.remedy, told.value
