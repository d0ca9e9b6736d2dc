"""Both kinds of store keep the same promises; S3 is a real SeaweedFS."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.core import store as store_module
from components.core.errors import UserError
from components.core.record_files import AT_ONCE
from components.core.records import Counts, Parent, Prompt
from components.core.settings import Settings
from components.core.stage import Stage, each_record, read_manifest
from components.core.store import Store, open_store
from components.core.store_check import check_store
from pipelines.local.services import BUCKET, services


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real bucket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(tmp_path_factory.mktemp("home")))
        with services() as local:
            for name, value in local.environment().items():
                patch.setenv(name, value)
            store_module._s3.cache_clear()
            yield f"s3://{BUCKET}/test"
    store_module._s3.cache_clear()


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    root = str(tmp_path) if request.param == "folder" else request.getfixturevalue("s3")
    return open_store(f"{root}/{request.node.name.replace('[', '-').strip(']')}")


def test_what_is_written_is_read(store: Store) -> None:
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"two")
    assert store.read("a/b.txt") == b"two"
    assert store.read("a/none") is None


def test_names_are_sorted_and_below_the_prefix(store: Store) -> None:
    for name in ("b/2", "b/1", "bb", "a"):
        store.write(name, b"x")
    assert store.names() == ["a", "b/1", "b/2", "bb"]
    assert store.names("b/") == ["b/1", "b/2"]
    assert store.names("b") == ["b/1", "b/2", "bb"]
    assert store.names("nothing/") == []


def test_it_passes_the_check_before_a_run_and_is_left_as_it_was(store: Store) -> None:
    store.write("a", b"x")
    check_store(store)
    assert store.names() == ["a"]


def test_delete_twice_is_fine(store: Store) -> None:
    store.write("a", b"x")
    store.delete("a")
    store.delete("a")
    assert store.names() == []


def test_one_of_many_creates_wins(store: Store) -> None:
    """32 at once: exactly one True, and its bytes stay."""
    with ThreadPoolExecutor(32) as pool:
        won = list(pool.map(lambda n: store.create("once", str(n).encode()), range(32)))
    assert won.count(True) == 1
    assert store.read("once") == str(won.index(True)).encode()


def test_files_go_up_and_come_down(store: Store, tmp_path: Path) -> None:
    """40 MB: more than one part of a multipart upload (PART_BYTES)."""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(40_000_000))
    store.upload(big, "deep/er/big")
    store.download("deep/er/big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == big.read_bytes()


@pytest.mark.slow
def test_wrong_keys_are_refused_with_a_remedy(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store_module._s3.cache_clear()
    with pytest.raises(UserError, match="Correct AWS_SECRET_ACCESS_KEY"):
        open_store(s3).read("x")
    store_module._s3.cache_clear()


def test_an_unreachable_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    store_module._s3.cache_clear()
    with pytest.raises(UserError, match=r"s3://bucket/x at http://127\.0\.0\.1:9"):
        open_store("s3://bucket/x").write("a", b"")
    store_module._s3.cache_clear()


def test_what_a_killed_check_left_goes_with_the_first_check_a_day_later(store: Store) -> None:
    """That of an hour ago may be another machine's, which is at it now (issue 16)."""
    old, young = (f"probe-{int(time.time()) - hours * 3600}-abc-written" for hours in (25, 1))
    for name in (old, young, "probe-of-somebody-else"):
        store.write(name, b"")
    check_store(store)
    assert store.names() == sorted(("probe-of-somebody-else", young))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to /dev/full fails as a full disk does (ENOSPC)."""
    real = Path.write_bytes

    def to_full(path: Path, data: bytes) -> int:
        return real(Path("/dev/full"), data) if path.name.startswith(".draft-") else real(path, data)

    monkeypatch.setattr(Path, "write_bytes", to_full)
    with pytest.raises(UserError, match="No space left.*Free some space"):
        open_store(str(tmp_path)).write("a", b"x" * 100_000)
    assert open_store(str(tmp_path)).names() == []


def test_a_store_that_does_not_exist_as_a_kind() -> None:
    with pytest.raises(UserError, match="gs://"):
        open_store("gs://bucket")
    with pytest.raises(UserError, match="names no bucket"):
        open_store("s3://")


def test_a_file_of_records_that_is_too_large_for_one_request(store: Store) -> None:
    """It is sent in parts, and fetched to this machine's disk; the store has lost it in the end."""
    stage = Stage(store.uri, "prompts", Settings(), {"model": Parent(uri="x", digest="d")})
    prompts = [Prompt(id=str(n), text="ä" * (AT_ONCE // 3)) for n in range(3)]
    stage.publish(Counts(), {"prompts": prompts})
    assert list(each_record(stage.uri, "prompts", Prompt)) == prompts
    [name] = read_manifest(stage.uri).files
    stage.store.delete(name)
    with pytest.raises(UserError, match="does not have the content that its manifest promises"):
        list(each_record(stage.uri, "prompts", Prompt))
