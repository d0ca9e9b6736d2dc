"""A run that finds an old stage, and gc that removes it: every order of their requests, and gc killed at each."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.core import claims, stage
from components.core.claims import REMOVAL, USED, claim, is_old, is_stale, remove
from components.core.records import Counts, Prompt
from components.core.settings import Settings
from components.core.stage import MANIFEST, Stage, parent, read_manifest, read_records
from components.core.store import DirectoryStore, StoredObject, open_store
from tests.helpers.old_stages import age


class KilledError(BaseException):
    """Nothing that a program catches."""


class Turns:
    """Two threads of which one at a time may send a request, in the order of `schedule` (0 or 1 for each request).

    What the schedule does not say goes to whoever is left.
    """

    def __init__(self, schedule: Sequence[int]) -> None:
        self.schedule, self.waiting, self.done = list(schedule), threading.Condition(), [False, False]

    def take(self, who: int) -> None:
        with self.waiting:
            self.waiting.wait_for(lambda: not self.schedule or self.schedule[0] == who or self.done[self.schedule[0]])
            if self.schedule:
                self.schedule.pop(0)
            self.waiting.notify_all()

    def end(self, who: int) -> None:
        with self.waiting:
            self.done[who] = True
            self.waiting.notify_all()


class Scheduled(DirectoryStore):
    """A store whose requests wait for their turn; the `kill`-th of them is not sent any more."""

    def __init__(self, uri: str, turns: Turns, who: int, kill: int | None = None) -> None:
        super().__init__(uri)
        self.turns, self.who, self.kill, self.sent = turns, who, kill, 0


def waits(name: str) -> Callable[..., Any]:
    def request(self: Scheduled, *arguments: Any) -> Any:
        if self.kill is not None and self.sent >= self.kill:
            raise KilledError
        self.sent += 1
        self.turns.take(self.who)
        return getattr(DirectoryStore, name)(self, *arguments)

    return request


for operation in ("read", "write", "create", "objects", "delete"):
    setattr(Scheduled, operation, waits(operation))

RECORDS = [Prompt(id="1", text="one")]


def finished(root: Path) -> Stage:
    made = Stage(str(root), "prompts", Settings(), {})
    made.publish(Counts(), {"prompts": RECORDS})
    age(made.uri, timedelta(days=90))
    return made


def doomed(store: DirectoryStore) -> list[StoredObject]:
    return sorted(DirectoryStore.objects(store), key=lambda one: one.name != MANIFEST)


def both(root: Path, schedule: Sequence[int], kill: int | None) -> tuple[bool, list[StoredObject]]:
    """A run claims the stage and looks for its manifest while gc removes it; whether the run found it, what gc took."""
    made, turns = finished(root), Turns(schedule)
    ours, theirs = Scheduled(made.uri, turns, 0), Scheduled(made.uri, turns, 1, kill)
    judged, found, taken = doomed(theirs), [], []

    def run() -> None:
        claim(ours)
        found.append(ours.read(MANIFEST) is not None)
        turns.end(0)

    def gc() -> None:
        try:
            taken.extend(remove(theirs, judged, judged))
        except KilledError:
            pass
        finally:
            turns.end(1)

    threads = [threading.Thread(target=one, daemon=True) for one in (run, gc)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return found[0], taken


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "POLL_S", 0.001)
    monkeypatch.setattr(claims, "REMOVAL_S", 0.05)


def schedules() -> Iterator[tuple[int, ...]]:
    """Where the run's first requests come between gc's: it sends three or more, gc six for three objects."""
    for places in itertools.combinations(range(11), 4):
        yield tuple(int(place not in places) for place in range(11))


@pytest.mark.parametrize("kill", [None, *range(6)])
def test_what_a_run_has_found_stays_and_what_went_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None, kill: int | None
) -> None:
    """330 orders, and every fifth of them with gc killed before each of its requests."""
    if kill is None:  # nobody dies, so nobody may lose patience
        monkeypatch.setattr(claims, "REMOVAL_S", 600.0)
    outcomes = set()
    for number, schedule in enumerate(itertools.islice(schedules(), 0, None, 1 if kill is None else 5)):
        root = tmp_path / str(number)
        found, taken = both(root, schedule, kill)
        uri = finished_uri(root)
        whole = open_store(uri).read(MANIFEST) is not None
        assert found == whole, schedule
        assert open_store(uri).read(REMOVAL) is None or kill is not None
        if whole:
            assert read_records(uri, "prompts", Prompt) == RECORDS
            assert not taken
        outcomes.add(found)
    assert outcomes == ({True, False} if kill is None or kill > 2 else {True})


def finished_uri(root: Path) -> str:
    return str(next(root.glob("prompts/*")))


def test_a_stage_that_went_is_made_again_and_is_whole(tmp_path: Path) -> None:
    made = finished(tmp_path)
    store = open_store(made.uri)
    assert len(remove(store, store.objects(), doomed(DirectoryStore(made.uri)))) == 3
    assert store.names() == []
    again = Stage(str(tmp_path), "prompts", Settings(), {})
    assert again.manifest is None
    again.publish(Counts(), {"prompts": RECORDS})
    assert read_records(made.uri, "prompts", Prompt) == RECORDS


def test_publishing_waits_for_the_end_of_a_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gc is about to delete what an earlier attempt left under the same names."""
    made = finished(tmp_path)
    store = open_store(made.uri)
    store.delete(MANIFEST)
    writer = Stage(str(tmp_path), "prompts", Settings(), {})
    store.write(REMOVAL, b"gc")
    judged = [one for one in store.objects() if one.name not in (REMOVAL, USED)]

    def removes(_: float) -> None:
        for one in judged:
            store.delete(one.name)
        store.delete(REMOVAL)

    monkeypatch.setattr(claims.time, "sleep", removes)
    writer.publish(Counts(), {"prompts": RECORDS})
    assert read_records(made.uri, "prompts", Prompt) == RECORDS


def test_a_change_of_any_kind_keeps_the_folder(tmp_path: Path) -> None:
    made = finished(tmp_path)
    store = open_store(made.uri)
    judged = store.objects()
    for change in (
        lambda: store.write("progress/prompts/1.jsonl", b"{}"),
        lambda: store.delete("progress/prompts/1.jsonl"),
    ):
        change()
        if store.objects() != judged:
            assert remove(store, judged, judged) == []
    claim(store)
    assert remove(store, judged, judged) == []
    assert read_records(made.uri, "prompts", Prompt) == RECORDS


def test_two_that_remove_do_not_meet(tmp_path: Path) -> None:
    made = finished(tmp_path)
    store = open_store(made.uri)
    store.write(REMOVAL, b"another")
    assert remove(store, store.objects(), store.objects()) == []
    assert store.read(REMOVAL) == b"another"


def test_a_removal_that_takes_too_long_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits loses patience after REMOVAL_S: by then nothing is deleted any more."""
    made, clock = finished(tmp_path), itertools.count(0, claims.REMOVAL_S / 3)
    monkeypatch.setattr(claims.time, "monotonic", lambda: next(clock))
    store = open_store(made.uri)
    removed = remove(store, store.objects(), doomed(DirectoryStore(made.uri)))
    assert [one.name for one in removed] == [MANIFEST]
    assert [name for name in store.names() if name != USED] != []


def test_old_stages_are_claimed_by_whoever_finds_them_and_as_inputs(tmp_path: Path) -> None:
    """A mark is as new as the last use; one that was made just now needs none."""
    made = finished(tmp_path)
    mark = Path(made.uri) / USED
    old = read_manifest(made.uri).model_copy(update={"created": "2026-01-01T00:00:00.000+00:00"})
    open_store(made.uri).write(MANIFEST, old.model_dump_json().encode())
    for use in (lambda: Stage(str(tmp_path), "prompts", Settings(), {}), lambda: parent(made.uri)):
        age(made.uri, timedelta(days=90))
        before = mark.stat().st_mtime
        use()
        assert mark.stat().st_mtime > before


def test_an_input_in_a_store_that_can_only_be_read_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.core.errors import UserError

    made = finished(tmp_path)
    monkeypatch.setattr(stage, "is_old", lambda created: True)

    def refuses(store: object) -> None:
        raise UserError("AccessDenied", "")

    monkeypatch.setattr(stage, "claim", refuses)
    assert parent(made.uri).digest == read_manifest(made.uri).digest


def test_ages() -> None:
    """Half a day may lie between the clocks of who makes a stage and who collects."""
    now = datetime.now(UTC)
    assert is_old((now - timedelta(hours=13)).isoformat()) and not is_old((now - timedelta(hours=11)).isoformat())
    removal = StoredObject(REMOVAL, 32, now - timedelta(minutes=19))
    assert not is_stale(removal, now) and is_stale(removal, now + timedelta(minutes=2))
