"""Records on this machine's disk, and what is made of them anew each time: a million take no memory (issue 16)."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from components.core.record_files import json_line
from components.core.records import Record
from components.core.scratch import scratch_folder

R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True)
class Again(Generic[T]):
    """What can be gone through again and again, and is never there as a whole."""

    each: Callable[[], Iterator[T]]

    def __iter__(self) -> Iterator[T]:
        return self.each()


class RecordTable(Mapping[str, R]):
    """Records by id, in the order in which they came; of one id the first stays.

    The file loses its name as soon as it is open: whatever ends the process, nothing of it is left.
    """

    def __init__(self, record: type[R], records: Iterable[R] = ()) -> None:
        self._record = record
        with scratch_folder() as folder:
            # It may be left to a thread other than its own to close it, when nobody holds it any more.
            self._rows = sqlite3.connect(folder / "records", isolation_level=None, check_same_thread=False)
            self._rows.execute("PRAGMA journal_mode = OFF")  # what is not whole is lost with its process, as it should
            self._rows.execute("PRAGMA synchronous = OFF")
            self._rows.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._rows.execute("CREATE TABLE records (id TEXT PRIMARY KEY, line BLOB)")
            self._rows.execute("BEGIN")
        weakref.finalize(self, self._rows.close)
        self.add(records)

    def add(self, records: Iterable[R]) -> None:
        lines = ((record.id, json_line(record)) for record in records)
        self._rows.executemany("INSERT OR IGNORE INTO records VALUES (?, ?)", lines)

    def __contains__(self, id: object) -> bool:
        return self._rows.execute("SELECT 1 FROM records WHERE id = ?", (id,)).fetchone() is not None

    def __getitem__(self, id: str) -> R:
        found = self._rows.execute("SELECT line FROM records WHERE id = ?", (id,)).fetchone()
        if found is None:
            raise KeyError(id)
        return self._record.model_validate_json(found[0])

    def __iter__(self) -> Iterator[str]:
        return (id for (id,) in self._rows.execute("SELECT id FROM records ORDER BY rowid"))

    def __len__(self) -> int:
        return int(self._rows.execute("SELECT COUNT(*) FROM records").fetchone()[0])
