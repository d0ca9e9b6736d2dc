"""What a data file's name may be, and the one error for what cannot be read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from components.core import sources
from components.core.errors import UserError
from components.core.sources import fetch
from components.core.store import DirectoryStore
from components.seed_data.seed_data import BUILT_IN


def test_a_path_in_its_three_spellings(tmp_path, monkeypatch):
    (tmp_path / "data").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(tmp_path / "data"), f"file://{tmp_path}/data", "~/data"):
        with fetch(name) as source:
            assert source.path.read_bytes() == b"x"
            assert source.uri == str(tmp_path / "data")
            assert source.parent().digest == hashlib.sha256(b"x").hexdigest()


def test_a_relative_path_wins_over_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("owner").mkdir()
    Path("owner/data").write_bytes(b"x")
    with fetch("owner/data") as source:
        assert source.uri == str(tmp_path / "owner/data")
    with pytest.raises(UserError, match="'owner/other' cannot be read: No such file"), fetch("owner/other"):
        pass


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is not a file"),
        ("missing.jsonl", "cannot be read: No such file"),
        ("data/missing.jsonl.gz", "cannot be read: No such file"),
        (".", "is not a file"),
        ("/dev/null", "is not a file"),
        ("nul\x00character", "cannot be read"),
        ("x" * 5000, "cannot be read: File name too long"),
        ("ftp://host/file", "is of no kind that can be read"),
        ("s3://bucket", "names no object"),
        ("s3://bucket/folder/", "names no object"),
        ("builtin:nothing", "no data named"),
    ],
)
def test_what_cannot_be_read_is_one_error(name, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=problem), fetch(name):
        pass


def test_data_that_ships_with_the_package():
    with fetch("builtin:demo", BUILT_IN) as source:
        assert source.path.name == "demo.messages.jsonl"
        assert source.uri == "builtin:demo"


def test_an_object_in_a_bucket_is_copied_and_removed_again(tmp_path, monkeypatch):
    """A folder stands in for the bucket: what is tested is the split into store and name, and the copy's life."""
    asked: list[str] = []

    def folder_store(uri: str) -> DirectoryStore:
        asked.append(uri)
        return DirectoryStore(str(tmp_path))

    monkeypatch.setattr(sources, "open_store", folder_store)
    (tmp_path / "data.gz").write_bytes(b"x")
    with fetch("s3://bucket/some/data.gz") as source:
        assert source.path.read_bytes() == b"x"
    assert asked == ["s3://bucket/some"]
    assert not source.path.exists()
    with pytest.raises(UserError, match="there is no object s3://bucket/some/other"), fetch("s3://bucket/some/other"):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub whose data set holds these files; returns the list of downloads."""
    downloads: list[tuple[str, str]] = []

    def download(repo: str, file: str, repo_type: str, local_files_only: bool) -> str:
        assert repo_type == "dataset" and not local_files_only
        downloads.append((repo, file))
        (tmp_path / "blob").write_bytes(b"x")
        return str(tmp_path / "blob")

    files = ["README.md", "r_all.trees.jsonl.gz", "r_ready.trees.jsonl.gz", "data/train.parquet"]
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "list_repo_files",
        lambda self, repo, repo_type: files if repo == "org/oasst" else files[:2],
    )
    return downloads


def test_a_hub_data_set_gives_its_finished_trees_or_the_named_file(hub):
    for name, file in [("org/oasst", "r_ready.trees.jsonl.gz"), ("org/oasst/data/train.parquet", "data/train.parquet")]:
        with fetch(name) as source:
            assert source.uri == f"hf://datasets/org/oasst/{file}"
        assert hub.pop() == ("org/oasst", file)


def test_a_hub_data_set_without_finished_trees_lists_its_files(hub):
    with pytest.raises(UserError, match="org/other/PATH: r_all.trees.jsonl.gz"), fetch("org/other"):
        pass


def test_a_hub_that_cannot_be_reached_is_one_error(monkeypatch):
    def unreachable(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with (
        pytest.raises(UserError, match="is no file here, and .* cannot be fetched: no connection"),
        fetch("org/a/b.gz"),
    ):
        pass
