"""Where a data file comes from: a path, an S3 object, a data set on the hub, or data that ships with the package."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import UnreachableError, UserError
from components.core.hashing import file_hash
from components.core.looking import looking
from components.core.records import Parent
from components.core.store import open_store

KINDS = "Give a file's path, s3://bucket/key, builtin:demo, or a hub data set as owner/name or owner/name/path/in/repo."
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:/.+)?")
_DATA_FILE = re.compile(r"\.(?:jsonl?|gz|parquet)$")
# OpenAssistant publishes each release in several files; this one holds the finished trees without spam and deletions.
_READY_TREES = "_ready.trees.jsonl.gz"


@dataclass(frozen=True)
class Source:
    """A data file on this machine: `name` as the user wrote it, `uri` for the lineage."""

    name: str
    uri: str
    path: Path

    def parent(self) -> Parent:
        """The file as a stage's input: its digest is the SHA-256 of the bytes as they are stored."""
        return Parent(uri=self.uri, digest=file_hash(self.path))


@contextmanager
def fetch(name: str, built_in: Path | None = None) -> Iterator[Source]:
    """The data file that `name` means, for as long as the `with` lasts. Raises UserError when it cannot be had.

    `built_in` is the folder with the data that ship for this purpose, None where none do.
    """
    if name.startswith("s3://"):
        with tempfile.TemporaryDirectory(prefix="srlm-") as folder:
            yield _from_s3(name, Path(folder) / "data")
    elif name.startswith("builtin:"):
        yield _built_in(name, built_in)
    elif "://" in name and not name.startswith("file://"):
        raise UserError(f"{name!r} is of no kind that can be read", KINDS)
    elif _means_hub(name):
        yield _from_hub(name)
    else:
        yield _from_path(name)


def _from_path(name: str) -> Source:
    path = Path(os.path.expanduser(name.removeprefix("file://")))
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{name!r} is not a file", "Name the data file itself.")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise UserError(f"{name!r} cannot be read: {getattr(error, 'strerror', None) or error}", KINDS) from error
    return Source(name, str(path.absolute()), path)


def _built_in(name: str, folder: Path | None) -> Source:
    shipped = {path.name.split(".")[0]: path for path in folder.iterdir()} if folder else {}
    wanted = name.removeprefix("builtin:")
    if wanted not in shipped:
        raise UserError(
            f"no data named {name!r} ships with the package", f"There is: {', '.join(sorted(shipped)) or 'none'}."
        )
    return Source(name, name, shipped[wanted])


def _from_s3(uri: str, path: Path) -> Source:
    folder, _, key = uri.rpartition("/")
    if folder == "s3:/" or not key:
        raise UserError(f"{uri!r} names no object", "Use s3://bucket/key of the data file.")
    try:
        open_store(folder).download(key, path)
    except FileNotFoundError as error:
        raise UserError(f"there is no object {uri}", "Check the bucket and the key.") from error
    except OSError as error:
        problem = f"{uri} cannot be copied to {path.parent}: {error.strerror}"
        raise UserError(problem, "Free some space there.") from error
    return Source(uri, uri, path)


def _means_hub(name: str) -> bool:
    """`owner/name...` is a data set unless something here makes it a path: it, or its first folder, or its ending."""
    if name.startswith(".") or not _HUB_ID.fullmatch(name) or Path(name.split("/")[0]).exists():
        return False
    return name.count("/") > 1 or not _DATA_FILE.search(name)


def _from_hub(name: str) -> Source:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HTTPError  # type: ignore[attr-defined]  # its client's

    owner, data_set, *path = name.split("/")
    repo = f"{owner}/{data_set}"
    try:
        file = "/".join(path) or _ready_trees(repo)
        local = hf_hub_download(repo, file, repo_type="dataset", local_files_only=looking())
    except (HTTPError, EntryNotFoundError, OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        kind = UserError if getattr(error, "response", None) is not None else UnreachableError
        raise kind(
            f"{name!r} is no file here, and as a data set of the Hugging Face hub it cannot be fetched: {why}",
            "Check its name, the network and HF_TOKEN, or fetch the file by other means and give its path.",
        ) from error
    return Source(name, f"hf://datasets/{repo}/{file}", Path(local))


def _ready_trees(repo: str) -> str:
    """The file's name there; who only looks takes it from what was fetched before."""
    from huggingface_hub import HfApi, snapshot_download

    if looking():
        folder = Path(snapshot_download(repo, repo_type="dataset", local_files_only=True))
        files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    else:
        files = HfApi().list_repo_files(repo, repo_type="dataset")
    trees = [file for file in files if file.endswith(_READY_TREES)]
    if len(trees) != 1:
        data = [file for file in files if _DATA_FILE.search(file)]
        raise UserError(
            f"the data set {repo} holds {len(trees)} files named *{_READY_TREES}",
            f"Name one of its files, as {repo}/PATH: {', '.join(data[:10]) or 'it has no data file'}.",
        )
    return trees[0]
