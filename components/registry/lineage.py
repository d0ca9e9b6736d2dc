"""Where a model comes from: weights <- pairs <- judgements <- candidates <- prompts <- seed data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from components.core.errors import UserError
from components.core.records import Manifest
from components.core.stage import VERSIONS, find_manifest

_STAGE = re.compile(rf"/(?:{'|'.join(VERSIONS)})/[0-9a-f]{{16}}$")


@dataclass(frozen=True)
class Ancestor:
    """One stage in a model's history; `depth` counts the stages from the model, `seen`: it was listed above already.

    `problem` says why a stage of the store could not be followed, or that it is no longer what the model was made from.
    What lies outside the store (the user's data, a hub model) has a URI and a digest and nothing more.
    """

    depth: int
    role: str
    uri: str
    digest: str
    stage: str | None
    seen: bool
    kept: dict[str, int] = field(default_factory=dict)
    problem: str = ""


def lineage(uri: str, digest: str = "") -> list[Ancestor]:
    """The model's stage and everything that it was made from, in depth-first order.

    `digest` is the one that the model was registered with, if it was. Raises UserError when `uri` is no finished stage.
    """
    manifest = find_manifest(uri)
    if manifest is None:
        raise UserError(f"{uri} holds no finished stage", "srlm models shows the models that there are.")
    return list(_depth_first("model", uri, digest or manifest.digest, 0, set()))


def _depth_first(role: str, uri: str, digest: str, depth: int, seen: set[str]) -> Iterator[Ancestor]:
    manifest, problem = _read(uri) if depth == 0 or _STAGE.search(uri) else (None, "")
    if manifest is None:
        yield Ancestor(depth, role, uri, digest, None, uri in seen, problem=problem)
        return
    if manifest.digest != digest:
        problem = f"is now {manifest.digest[:12]}"
    yield Ancestor(depth, role, uri, digest, manifest.stage, uri in seen, manifest.counts.kept, problem)
    if uri in seen:
        return
    seen.add(uri)
    for name, parent in manifest.parents.items():
        yield from _depth_first(name, parent.uri, parent.digest, depth + 1, seen)


def _read(uri: str) -> tuple[Manifest | None, str]:
    """A stage's manifest, or why there is none: an unreachable store must not hide the rest of the history."""
    try:
        manifest = find_manifest(uri)
    except UserError as error:
        return None, error.problem
    except (OSError, ValueError) as error:  # no permission; not JSON, or not a manifest's
        return None, f"cannot be read ({type(error).__name__})"
    return manifest, "" if manifest else "is gone"
