"""Content hashes, the seeds derived from them, and the version of this code."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def content_hash(value: Any) -> str:
    """SHA-256 (hex) of a JSON-like value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short_id(*parts: str | int) -> str:
    """A 16-digit id of the parts: short enough to read, long enough (64 bits) not to collide within a stage."""
    return content_hash(list(parts))[:16]


def seed_from(*parts: str | int) -> int:
    """A sampling seed in [0, 2**31) from the parts alone, so a resumed run draws what the first one would."""
    return int(content_hash(list(parts))[:8], 16) & 0x7FFFFFFF


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def code_version() -> str:
    """The installed version of this package, for the manifest (identity uses the stages' own versions)."""
    try:
        return version("self-rewarding-pipelines")
    except PackageNotFoundError:
        return "unknown"
