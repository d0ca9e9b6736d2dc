"""A tiny run in a place of its own, what came of it, and what it left."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from components.core import claims, store_check
from components.core.progress import RUN_EVENTS
from components.core.store import DirectoryStore, open_store
from tests.faults.loop import Place, started, tiny_run
from tests.helpers import gateway as gateways
from tests.helpers.scripted_endpoint import served
from tests.helpers.tiny_loop import KEYS, gateway

SMALL = (
    *("instructions=null", "data.ift=4", "sft.max_length=1100", "sft.micro_batch_size=2", "sft.batch_size=4"),
    *("sft.checkpoint_every=1", "dpo.checkpoint_every=1"),
)
MARKS = ("last-use",)  # what may lie beside a finished stage's files


@contextmanager
def place(
    folder: Path, model: Path, tracking_uri: str, store: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[Place]:
    """Where a tiny run may happen, with a gateway that is never busy; MLflow knows no model of its name."""
    forget(tracking_uri)
    store = store or str(folder / "store")
    (folder / "home").mkdir(parents=True)
    own = {"SRLM_HOME": str(folder / "home"), RUN_EVENTS: str(folder / "events.jsonl"), "OMP_NUM_THREADS": "1"}
    with unlimited(), served(gateway(store)) as url:
        yield Place(str(model), store, tracking_uri, url, {**KEYS, **own, **(environment or {})}, SMALL)


@contextmanager
def unlimited() -> Iterator[None]:
    before = gateways.BY_THE_MINUTE, gateways.FAILS_EVERY
    gateways.BY_THE_MINUTE = gateways.FAILS_EVERY = 10**9
    yield
    gateways.BY_THE_MINUTE, gateways.FAILS_EVERY = before


def begin(where: Place, work: Callable[..., None] = tiny_run) -> ForkServerProcess:
    """The run, begun or gone on with."""
    folder = Path(where.environment["SRLM_HOME"]).parent
    return started(impatient, folder / "log.txt", where.environment, work, where)


def impatient(work: Callable[..., None], *arguments: Any) -> None:
    """A process that was killed while it imported a model is taken for dead after 3 seconds, and not after 60."""
    claims.DEAD_S, claims.BEAT_S, claims.POLL_S = 3.0, 0.5, 0.1
    work(*arguments)


def forget(tracking_uri: str) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        MlflowClient(tracking_uri).delete_registered_model("tiny")


def result(where: Place) -> dict[str, Any]:
    """What must not depend on what was done to the run: stages by key, digest and counts, models with their verdicts,
    and the registry, whose versions are called by their models' aliases."""
    summary = json.loads(open_store(where.store).read(f"runs/{where.run}/summary.json") or b"{}")
    stages = {one["name"]: (one["key"], one["digest"], one["counts"]) for one in summary["stages"]}
    models = {one["name"]: (one["digest"], one["verdict"], one["metrics"]) for one in summary["models"]}
    return {"stages": stages, "models": models, "registry": registry(where)}


def registry(where: Place) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(where.tracking_uri)
    aliases = {alias: str(number) for alias, number in client.get_registered_model("tiny").aliases.items()}
    versions = client.search_model_versions("name = 'tiny'")
    names = {aliases[alias]: alias for alias in ("m0", "sft", "m1", "m2")}
    digests = {names.get(str(one.version), "twice"): one.tags["srlm.digest"] for one in versions}
    return {"versions": len(versions), "digests": digests, "aliases": {a: names[v] for a, v in aliases.items()}}


def leftovers(where: Place) -> list[str]:
    """What a run should not leave: unfinished records, marks of who was at work, scratch folders of this machine.

    What a check of the store has left that was killed goes with the first check a day later.
    """
    store = open_store(where.store)
    if isinstance(store, DirectoryStore):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_check, "STALE_S", -1)
            store_check.check_store(store)
    left = [name for name in store.names() if "/progress/" in name or name.endswith(("/maker", "/removal"))]
    left += [name for name in store.names() if name.startswith("probe-")] if isinstance(store, DirectoryStore) else []
    home = Path(where.environment["SRLM_HOME"])
    return left + [str(path) for path in home.glob("work/*")]


def longest_silence(where: Place) -> float:
    """Seconds between two words of the run, its pauses between two processes among them; nan without any."""
    path = Path(where.environment[RUN_EVENTS])
    times = sorted(json.loads(line)["time"] for line in path.read_text().splitlines() if line.endswith("}"))
    return max((late - early for early, late in pairwise(times)), default=math.nan)


def elsewhere(where: Place, home: Path) -> Place:
    """The same place for another machine: a home of its own."""
    home.mkdir(parents=True)
    own = {"SRLM_HOME": str(home), RUN_EVENTS: str(home / "events.jsonl")}
    return replace(where, environment={**where.environment, **own})
