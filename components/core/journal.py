"""The journal of a run: what its steps noted, under `<root>/runs/<run>/`."""

from __future__ import annotations

import json
from typing import Any

from components.core.store import join, open_store


def write_journal(root: str, run: str, kind: str, name: str, entry: dict[str, Any]) -> None:
    """Note something about the run under `<root>/runs/<run>/<kind>/`."""
    place = join(root, "runs", run, kind)
    open_store(place).write(f"{name.replace('/', '-')}.json", json.dumps(entry, indent=1).encode())


def read_journal(root: str, run: str, kind: str) -> list[dict[str, Any]]:
    """What the run's steps noted, in the order in which they started."""
    store = open_store(join(root, "runs", run, kind))
    entries = [json.loads(store.read(name) or b"{}") for name in store.names()]
    return sorted(entries, key=lambda entry: entry.get("started", 0))
