"""A store tried out before any work depends on it: it gives back what was written, and only the first writer wins."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.core.errors import UserError
from components.core.s3_refusals import CHECKSUMS, NO_CHECKSUMS, REQUIRED
from components.core.store import S3Store, Store, store_environment

DATA = b"srlm probes this store\n"
WRITERS = 8  # that meet
STALE_S = 24 * 3600  # after which a probe's objects are those of a check that was killed, whatever a clock says
PROBE = re.compile(r"probe-(\d+)-")
CONDITIONAL = (
    "Use a store that has conditional puts: AWS S3, MinIO, Ceph 20, SeaweedFS 4, which the chart brings "
    "(seaweedfs.enabled) and srlm run without --store, or a folder that all steps share. Reads and writes alone cannot "
    "make the first of two writers win."
)


def check_store(store: Store) -> None:
    """Raises UserError where the store refuses something that runs do, or does it otherwise; leaves nothing there,
    nor what a check that was killed has left a day before.

    What fails with boto3's checksums is tried without: several stores know only older ones.
    """
    try:
        _try(store)
    except UserError as error:
        if not isinstance(store, S3Store) or not _works_without_checksums(store):
            raise
        raise UserError(
            f"the store {store.uri} does not take checksums as boto3 sends them ({error.problem})",
            f"Set {NO_CHECKSUMS}; so it does all that runs need.",
        ) from error


def _works_without_checksums(store: Store) -> bool:
    with store_environment({CHECKSUMS: REQUIRED}):
        try:
            _try(store)
        except UserError:
            return False
        return True


def _try(store: Store) -> None:
    """All that runs do with a store, on objects of its own."""
    name = f"probe-{int(time.time())}-{uuid.uuid4().hex}"
    written, uploaded, once = f"{name}-written", f"{name}-uploaded", f"{name}-once"
    try:
        if store.read(f"{name}-absent") is not None:
            raise UserError(f"the store {store.uri} answers with things that are not there", "Is it an S3 server?")
        store.write(written, DATA)
        _upload(store, uploaded)
        _require_content(store, written, uploaded)
        _require_first_wins(store, once)
        there = store.names("probe-")
        if [one for one in there if one.startswith(name)] != sorted((written, uploaded, once)):
            raise UserError(f"the store {store.uri} does not list what was written", "Use another S3 server.")
    finally:
        with contextlib.suppress(UserError):  # one that cannot be removed is no reason for another message
            for left in (written, uploaded, once):
                store.delete(left)
    store.delete(once)  # progress is deleted when a stage is finished
    for left in there:
        if (made := PROBE.match(left)) and time.time() - int(made[1]) > STALE_S:
            store.delete(left)


def _upload(store: Store, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="srlm-") as folder:
        path = Path(folder) / "probe"
        path.write_bytes(DATA)
        store.upload(path, name)


def _require_content(store: Store, *names: str) -> None:
    for name in names:
        if store.read(name) != DATA:
            raise UserError(f"the store {store.uri} does not give back what was written", "Use another S3 server.")


def _require_first_wins(store: Store, name: str) -> None:
    """Several writers at the same moment, then one that comes late: a store may look first and write afterwards."""
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(lambda number: store.create(name, b"%d" % number), range(WRITERS)))
        late = store.create(name, b"late")
    except UserError as error:  # other puts succeeded before
        raise UserError(f"{error.problem} (a conditional put: If-None-Match)", CONDITIONAL) from error
    if won.count(True) != 1 or late or store.read(name) != b"%d" % won.index(True):
        raise UserError(
            f"the store {store.uri} lets a second writer replace what is there (it keeps no If-None-Match): of two "
            "runs that meet, or a step that is started twice, each would think that its work is the one that counts",
            CONDITIONAL,
        )
