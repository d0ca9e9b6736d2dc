"""A model to the store and back, beside boto3 as it comes and one plain HTTP request to the same SeaweedFS."""

from __future__ import annotations

import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from components.core.store import S3Store, store_environment
from pipelines.local.services import BUCKET, services
from tests.benchmarks.in_turn import best_in_turn
from tests.benchmarks.row import Row

MIB = 1 << 20


def seconds(work: Callable[[], object], made: Path) -> float:
    """All begin alike: no older copy whose pages one of them would write to again, and no disk that is still busy.

    In a virtual machine pages that nobody used before cost two seconds a GiB (docs/performance.md).
    """
    made.unlink(missing_ok=True)
    os.sync()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def put(url: str, path: Path) -> None:
    """One request, its body read from the file."""
    with path.open("rb") as body:
        request = urllib.request.Request(url, body, {"Content-Length": str(path.stat().st_size)}, method="PUT")
        urllib.request.urlopen(request).close()


def get(url: str, path: Path) -> None:
    with urllib.request.urlopen(url) as response, path.open("wb") as file:
        while block := response.read(4 * MIB):
            file.write(block)


def rows(quick: bool) -> list[Row]:
    """Each of the three in turn, several times; the best of each counts."""
    size, times = (64, 2) if quick else (1024, 3)
    with (
        tempfile.TemporaryDirectory() as folder,
        store_environment({"SRLM_HOME": folder}),
        services(registry=False) as local,
        store_environment(local.environment()),
    ):
        return _measured(Path(folder), size, times)


def _measured(folder: Path, size: int, times: int) -> list[Row]:
    import boto3
    from botocore.config import Config

    model, copy = folder / "model", folder / "copy"
    with model.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
    store, client = S3Store(f"s3://{BUCKET}/bench"), boto3.client("s3", region_name="us-east-1")
    signing = boto3.client("s3", region_name="us-east-1", config=Config(signature_version="s3v4"))
    place = {"Bucket": BUCKET, "Key": "bench/raw"}
    up, down = (signing.generate_presigned_url(f"{verb}_object", Params=place) for verb in ("put", "get"))
    works: dict[str, tuple[Callable[[], object], ...]] = {
        "up": (
            lambda: store.upload(model, "model"),
            lambda: client.upload_file(str(model), BUCKET, "bench/boto3"),
            lambda: put(up, model),
        ),
        "down": (
            lambda: store.download("model", copy),
            lambda: client.download_file(BUCKET, "bench/boto3", str(copy)),
            lambda: get(down, copy),
        ),
    }
    rows = []
    for way, three in works.items():
        ours, theirs, raw = best_in_turn([partial(seconds, work, copy) for work in three], times)
        note = f"{size} MiB; best of {times}"
        speed = (size / ours, "boto3", size / theirs, size / raw)
        rows.append(Row(f"a model {way}", "MiB/s", *speed, of_limit=0.9, note=note))
    assert copy.read_bytes() == model.read_bytes()
    return rows
