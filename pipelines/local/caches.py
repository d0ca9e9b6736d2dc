"""What runs leave on this machine beside their results: copies of models, and scratch folders of killed processes."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.core.model_files import models_cache
from components.core.scratch import scratch_root
from components.core.store import DirectoryStore, home
from components.run.garbage import UNFINISHED, Rules


@dataclass(frozen=True)
class Cached:
    """A folder that can be made again; `what` is its kind."""

    path: Path
    what: str
    bytes: int
    goes: bool


def cached(rules: Rules) -> Iterator[Cached]:
    """The folders of this machine's cache; a model's date is that of its last use."""
    for parent, what in ((models_cache(home()), "cached models"), (scratch_root(), "scratch folders")):
        for path in sorted(parent.glob("*")):
            objects = DirectoryStore(str(path)).objects()
            used = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            date = max([used, *(one.modified for one in objects)])
            whole = what == "cached models" and not path.name.startswith(".draft-")
            limit = rules.older_than if whole else max(rules.older_than, UNFINISHED)
            yield Cached(path, what, sum(one.bytes for one in objects), rules.now - date > limit)


def remove_cached(one: Cached) -> None:
    """Whoever looks for it meanwhile finds it whole or not at all."""
    draft = one.path.with_name(f".draft-{uuid.uuid4().hex}")
    one.path.rename(draft)
    shutil.rmtree(draft)
