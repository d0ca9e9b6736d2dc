"""Serve a model once for everything that needs it, and not at all when nothing does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from components.core.hashing import content_hash
from components.core.progress import say
from components.core.stage import VERSIONS, find_manifest, read_manifest
from components.core.store import join, open_store
from components.serving.engines.engine import Engine
from components.serving.settings import ServingSettings


class Served(NamedTuple):
    """An endpoint, empty where no server is needed, and the URI of the note on what is finished."""

    endpoint: str
    note: str


def work_note(root: str, model: str, inputs: Sequence[str], work: Mapping[str, Any]) -> str:
    """The URI of the note on the work that `model` is served for; it exists once all of that work was finished.

    Its name depends on whatever the keys of that work depend on: another setting or input is another note.
    """
    digests = [read_manifest(uri).digest for uri in [model, *inputs]]
    return join(root, "served", f"{content_hash([digests, dict(work), VERSIONS])[:16]}.json")


def serve(engine: Engine, run: str, name: str, model: str, note: str, settings: ServingSettings) -> Served:
    """Start a server for the model, unless every stage that the note names is still in the store."""
    folder, _, file = note.rpartition("/")
    stages = open_store(folder).read(file)
    if stages is not None and all(find_manifest(uri) for uri in json.loads(stages)):
        say(f"{name} is not served: everything it is needed for is finished")
        return Served("", note)
    return Served(engine.start(run, name, model, settings), note)


def unserve(engine: Engine, run: str, name: str, note: str, finished: Sequence[str]) -> None:
    """Stop the server and note the stages (URIs) that it was needed for."""
    engine.stop(run, name)
    folder, _, file = note.rpartition("/")
    open_store(folder).write(file, json.dumps(sorted(finished)).encode())
