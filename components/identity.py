"""Content hashes and the seeds derived from them."""

from __future__ import annotations

import hashlib
import json
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
