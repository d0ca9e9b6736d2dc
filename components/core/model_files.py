"""The files of a model's stage on this machine: the store's own folder, or a checked copy in the cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path

from components.core.checked_files import changed_file, remember
from components.core.errors import UserError
from components.core.hashing import content_hash, file_hash
from components.core.ledger import spent
from components.core.progress import Progress, warn
from components.core.records import File, Manifest
from components.core.scratch import scratch_folder
from components.core.stage import MANIFEST, damaged, read_manifest
from components.core.store import DirectoryStore, home, join, open_store

ADAPTER = "adapter"  # in the folder of a model that was trained by LoRA: what it changed, beside the merged weights


def model_folder(uri: str) -> Path:
    """The files of a finished model stage as a local folder: the store's own where it is one, else a copy.

    Raises UserError where the stage holds no model, or a file does not have the content that was published. What was
    looked at by this machine and was not written to since is not read again.
    """
    return _local_folder(uri, model_prefix(uri), cached_model(uri, home()))


def adapter_folder(uri: str) -> Path:
    """The adapter of a model, as `model_folder` has a model: the weights beside it are not fetched.

    Raises UserError where it has none.
    """
    if not _adapter_files(uri):
        raise UserError(f"{uri} was not trained by LoRA", "Serve its weights: set serving.adapter_rank to 0.")
    return _local_folder(uri, _adapter_prefix(uri), cached_model(uri, home()).with_suffix(f".{ADAPTER}"))


def base_of(uri: str) -> str:
    """The model that `uri`'s adapter changes: the nearest one that it was trained from and that has none; or itself.

    Raises UserError where one of them is not what it was when the next was trained.
    """
    if not _adapter_files(uri):
        return uri
    manifest = read_manifest(uri)
    before = manifest.parents["base" if manifest.stage == "sft" else "model"]
    require_digest(before.uri, before.digest)
    return base_of(before.uri)


def _adapter_prefix(uri: str) -> str:
    return f"{model_prefix(uri)}/{ADAPTER}"


def _adapter_files(uri: str) -> dict[str, File]:
    return _contents(read_manifest(uri), _adapter_prefix(uri))


@spent("fetching")
def _local_folder(uri: str, prefix: str, target: Path) -> Path:
    """What the stage has below `prefix`, checked: the store's own folder, or a copy in `target`."""
    contents, store = _contents(read_manifest(uri), prefix), open_store(uri)
    if isinstance(store, DirectoryStore):
        if changed := changed_file(store.root / prefix, contents):
            raise damaged(join(uri, prefix, changed))
        return store.root / prefix
    with contextlib.suppress(OSError):  # not there, or a claim that is mounted to be read
        os.utime(target)  # its last use, by which srlm gc goes
    if target.exists():
        changed = changed_file(target, contents)
        if not changed:
            return target
        warn(f"{target / changed} was changed on this machine's disk: the model is fetched again")
        shutil.rmtree(target)
    draft = target.with_name(f".draft-{uuid.uuid4().hex}")
    with Progress("fetching model (MB)", sum(file.megabytes for file in contents.values())) as progress:
        for name, file in contents.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(f"{prefix}/{name}", path)
            if file_hash(path) != file.sha256:
                raise damaged(join(uri, prefix, name))
            progress.advance(file.megabytes)
    try:
        draft.rename(target)
    except OSError:  # another process was first with the same content
        shutil.rmtree(draft)
    remember(target, contents)
    return target


def model_prefix(uri: str) -> str:
    """The name of the model's folder inside its stage, a hash of its content; raises UserError without a model."""
    prefix = next((name.split("/")[0] for name in read_manifest(uri).files if name.startswith("files-")), None)
    if prefix is None:
        raise UserError(f"{uri} holds no model files", "Name a stage that made a model: base_model, sft or dpo.")
    return prefix


def _contents(manifest: Manifest, prefix: str) -> dict[str, File]:
    """The files below `prefix` by their names there."""
    return {name[len(prefix) + 1 :]: file for name, file in manifest.files.items() if name.startswith(f"{prefix}/")}


def cached_model(uri: str, scratch: Path) -> Path:
    """Where `model_folder` leaves a model of an S3 store on a machine whose SRLM_HOME is `scratch`."""
    return models_cache(scratch) / model_prefix(uri)


def models_cache(scratch: Path) -> Path:
    return scratch / "cache" / "models"


def prime_model_cache(uri: str, folder: Path) -> None:
    """Move the files that were just published from `folder` to where `model_folder` looks, to save the download."""
    if isinstance(open_store(uri), DirectoryStore):
        return
    target = cached_model(uri, home())
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, target)
        remember(target, _contents(read_manifest(uri), target.name))


def require_digest(uri: str, digest: str) -> None:
    """Raises UserError unless the stage's manifest names the files that have this digest."""
    manifest = read_manifest(uri)
    if content_hash({name: file.sha256 for name, file in manifest.files.items()}) != manifest.digest:
        raise damaged(join(uri, MANIFEST))
    if manifest.digest != digest:
        raise UserError(
            f"{uri} was to have the digest {digest}, but has {manifest.digest}",
            "The store was changed: run the pipeline again, which registers what it makes.",
        )


def check_files(uri: str) -> None:
    """Read every file of a finished stage; raises UserError when one does not have the content that was published."""
    manifest, store = read_manifest(uri), open_store(uri)
    require_digest(uri, manifest.digest)
    with Progress("checking files (MB)", sum(file.megabytes for file in manifest.files.values())) as progress:
        for name, file in manifest.files.items():
            with scratch_folder() as folder:
                path = store.root / name if isinstance(store, DirectoryStore) else folder / "file"
                try:
                    if not isinstance(store, DirectoryStore):
                        store.download(name, path)
                    intact = file_hash(path) == file.sha256
                except FileNotFoundError:
                    intact = False
            if not intact:
                raise damaged(join(uri, name))
            progress.advance(file.megabytes)
