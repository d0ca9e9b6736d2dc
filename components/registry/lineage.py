"""Where a model comes from: weights <- pairs <- judgements <- candidates <- prompts <- seed data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.errors import UserError
from components.stage import find_manifest


@dataclass(frozen=True)
class Ancestor:
    """One stage in a model's history; `depth` counts the steps from the model, `seen` says that it stood above already.

    What lies outside the store (the user's data, a hub model) has a URI and a digest and nothing more.
    """

    depth: int
    role: str
    uri: str
    digest: str
    stage: str | None
    seen: bool


def lineage(uri: str) -> list[Ancestor]:
    """The model's stage and everything that it was made from, in depth-first order."""
    manifest = find_manifest(uri)
    if manifest is None:
        raise UserError(f"{uri} holds no finished stage", "srlm models shows the models that there are.")
    return list(_walk("model", uri, manifest.digest, 0, set()))


def _walk(role: str, uri: str, digest: str, depth: int, seen: set[str]) -> Iterator[Ancestor]:
    manifest = find_manifest(uri) if "/" in uri else None
    yield Ancestor(depth, role, uri, digest, manifest.stage if manifest else None, uri in seen)
    if manifest is None or uri in seen:
        return
    seen.add(uri)
    for name, parent in manifest.parents.items():
        yield from _walk(name, parent.uri, parent.digest, depth + 1, seen)
