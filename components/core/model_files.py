"""The files of a model's stage on this machine: the store's own folder, or a checked copy in the cache."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path

from components.core.errors import UserError
from components.core.hashing import content_hash, file_hash
from components.core.progress import Progress
from components.core.records import File
from components.core.stage import MANIFEST, damaged, megabytes, read_manifest
from components.core.store import DirectoryStore, Store, home, join, open_store


def model_folder(uri: str) -> Path:
    """The files of a finished model stage as a local folder: the store's own where it is one, else a checked copy."""
    manifest, place, store = read_manifest(uri), model_prefix(uri), open_store(uri)
    if isinstance(store, DirectoryStore):
        return store.root / place
    files = {name.removeprefix(f"{place}/"): file for name, file in manifest.files.items() if name.startswith(place)}
    return _cached_copy(uri, place, files)


def model_prefix(uri: str) -> str:
    """The name of the model's folder inside its stage, which says its content; raises UserError without a model."""
    place = next((name.split("/")[0] for name in read_manifest(uri).files if name.startswith("files-")), None)
    if place is None:
        raise UserError(f"{uri} holds no model files", "Name a stage that made a model: base_model, sft or dpo.")
    return place


def cached_model(uri: str, scratch: Path) -> Path:
    """Where `model_folder` leaves a model of an S3 store on a machine whose SRLM_HOME is `scratch`."""
    return scratch / "cache" / "models" / model_prefix(uri)


def check_files(uri: str) -> None:
    """Read every file of a finished stage; raises UserError when one does not have the content that was published."""
    manifest, store = read_manifest(uri), open_store(uri)
    if content_hash({name: file.sha256 for name, file in manifest.files.items()}) != manifest.digest:
        raise damaged(join(uri, MANIFEST))
    with Progress("checking files (MB)", megabytes(manifest.files.values())) as progress:
        for name, file in manifest.files.items():
            with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
                copy = store.root / name if isinstance(store, DirectoryStore) else Path(folder) / "file"
                if not isinstance(store, DirectoryStore):
                    _download(store, uri, name, copy)
                if not copy.exists() or file_hash(copy) != file.sha256:
                    raise damaged(join(uri, name))
            progress.advance(megabytes([file]))


def _download(store: Store, uri: str, name: str, path: Path) -> None:
    try:
        store.download(name, path)
    except FileNotFoundError as error:
        raise damaged(join(uri, name)) from error


def _scratch() -> Path:
    folder = home() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prime_model_cache(uri: str, folder: Path) -> None:
    """Move the files that were just published from `folder` to where `model_folder` looks, to save the download."""
    if isinstance(open_store(uri), DirectoryStore):
        return
    target = cached_model(uri, home())
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, target)


def _cached_copy(uri: str, place: str, files: dict[str, File]) -> Path:
    target = cached_model(uri, home())
    if target.exists():
        return target
    draft = target.with_name(f".draft-{uuid.uuid4().hex}")
    store = open_store(join(uri, place))
    with Progress("fetching model (MB)", megabytes(files.values())) as progress:
        for name, file in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(name, path)
            if file_hash(path) != file.sha256:
                raise damaged(join(uri, place, name))
            progress.advance(megabytes([file]))
    try:
        draft.rename(target)
    except OSError:  # another process was first with the same content
        shutil.rmtree(draft)
    return target
