"""The journal of a run: the entries that its steps write, one JSON file each, under `<root>/runs/<run>/<kind>/`."""

from __future__ import annotations

import json
from typing import Any

from components.core.store import join, open_store

REPORT = "report.html"  # what the last step leaves there
CONTEXT = "context.json"  # what the first step leaves in the folder once nothing speaks against the run


def write_journal(root: str, run: str, kind: str, name: str, entry: dict[str, Any]) -> None:
    """Write an entry, replacing an earlier one of that kind and name."""
    open_store(join(root, "runs", run, kind)).write(_file(name), json.dumps(entry, indent=1).encode())


def read_entry(root: str, run: str, kind: str, name: str) -> dict[str, Any] | None:
    """The entry of that kind and name, None where there is none."""
    data = open_store(join(root, "runs", run, kind)).read(_file(name))
    return json.loads(data) if data else None


def read_journal(root: str, run: str, kind: str) -> list[dict[str, Any]]:
    """The run's entries of one kind, in the order in which their steps started."""
    store = open_store(join(root, "runs", run, kind))
    entries = [json.loads(store.read(name) or b"{}") for name in store.names()]
    return sorted(entries, key=lambda entry: entry.get("started", 0))


def _file(name: str) -> str:
    return f"{name.replace('/', '-')}.json"
