"""What lets `srlm gc` remove old folders of a store while runs are at work: each tells the other before it looks.

Whoever relies on a folder that gc might take first marks it, then looks whether a removal is announced; gc announces
the removal, then looks whether anything in the folder has changed since it was judged. One of them sees the other,
whatever comes in between: gc keeps a folder that was marked, and a run waits for the end of a removal and then finds
the folder whole, or without a manifest, as one that is still to be made. So no stage is published, and none is relied
on, while its files go. A store gives back what was written before (S3 promises that since 2020).
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from components.core.looking import looking
from components.core.progress import say
from components.core.store import Store, StoredObject

USED, REMOVAL = "last-use", "removal"  # the mark and the announcement
MAKER = "maker"  # the mark of who makes a folder's content that is too large to be made twice
BEAT_S = 10.0  # after which a maker writes its mark anew
DEAD_S = 60.0  # a mark that has stood for so long is that of a process that was killed
# gc takes nothing that was written to since, and runs mark what is older than half of it: clocks may differ by the rest
SAFE_AGE = timedelta(days=1)
REMOVAL_S = 600.0  # a removal that takes longer has died; it gives up by itself after half of that
POLL_S = 1.0


def is_old(created: str) -> bool:
    """Whether a stage of this date (ISO 8601) has to be claimed by whoever relies on it."""
    return datetime.now(UTC) - datetime.fromisoformat(created) > SAFE_AGE / 2


def claim(store: Store) -> None:
    """Mark the folder as used; returns once nobody removes it. What is in it is to be looked at afterwards.

    Who only looks relies on nothing, and marks nothing.
    """
    while not looking():
        store.write(USED, datetime.now(UTC).isoformat(timespec="seconds").encode())
        announced = store.read(REMOVAL)
        if announced is None:
            return
        say(f"waiting for srlm gc, which is about to remove {store.uri}")
        deadline = time.monotonic() + REMOVAL_S
        while store.read(REMOVAL) == announced:
            if time.monotonic() > deadline:  # it was killed, or it has given up
                store.delete(REMOVAL)
            else:
                time.sleep(POLL_S)


@contextlib.contextmanager
def only_maker(store: Store, finished: Callable[[], bool], what: str) -> Iterator[None]:
    """Wait while somebody else makes the folder's content and has not `finished`; then be the one who makes it.

    Two at once do no harm (the first manifest wins), they only do the work twice: after an interruption of a minute
    that may happen. No clocks are compared: a maker writes its mark anew, and who waits sees whether it changes.
    """
    seen, since, told = b"", time.monotonic(), False
    while not finished() and not store.create(MAKER, own := uuid.uuid4().hex.encode()):
        if not told:
            say(f"waiting for another run, which {what}")
            told = True
        mark = store.read(MAKER) or b""
        if mark != seen:
            seen, since = mark, time.monotonic()
        elif time.monotonic() - since > DEAD_S:
            store.delete(MAKER)
        else:
            time.sleep(POLL_S)
    if finished():
        yield
        return
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(store, own, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        store.delete(MAKER)


def _beat(store: Store, own: bytes, ended: threading.Event) -> None:
    """Write a maker's mark anew until it has ended."""
    beats = 0
    while not ended.wait(BEAT_S):
        beats += 1
        with contextlib.suppress(Exception):  # a store that is away now is asked again by whoever needs it
            store.write(MAKER, own + b" %d" % beats)


def remove(store: Store, judged: Sequence[StoredObject], doomed: Sequence[StoredObject]) -> list[StoredObject]:
    """Delete `doomed`, in this order, from a folder that held `judged`; returns what was deleted.

    Nothing is where the folder has changed since, or is being removed by somebody else. A removal that was killed may
    be done again at once.
    """
    if not store.create(REMOVAL, uuid.uuid4().hex.encode()):
        return []
    start, deleted = time.monotonic(), []
    try:
        if {one for one in store.objects() if one.name != REMOVAL} == set(judged):
            for one in doomed:
                if time.monotonic() - start > REMOVAL_S / 2:
                    break
                store.delete(one.name)
                deleted.append(one)
    finally:
        if time.monotonic() - start < REMOVAL_S:  # else it may be another's by now
            store.delete(REMOVAL)
    return deleted


def is_stale(removal: StoredObject, now: datetime) -> bool:
    """Whether the removal that was announced was killed: whoever wants the folder would wait for it."""
    return now - removal.modified > timedelta(seconds=2 * REMOVAL_S)
