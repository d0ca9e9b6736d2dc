"""Records on this machine's disk, and what is made of them anew each time: a million take no memory (issue 16)."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

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
        self._rows: sqlite3.Connection | None = None  # who only looks at what there is leaves no folder behind
        self.add(records)

    def add(self, records: Iterable[R]) -> None:
        lines = ((record.id, json_line(record)) for record in records)
        if first := next(lines, None):
            self._rows = self._rows or self._open()
            self._rows.executemany("INSERT OR IGNORE INTO records VALUES (?, ?)", chain([first], lines))

    def _open(self) -> sqlite3.Connection:
        with scratch_folder() as folder:
            rows = sqlite3.connect(folder / "records", isolation_level=None)
            rows.execute("PRAGMA journal_mode = OFF")  # what is not whole is lost with its process, as it should
            rows.execute("PRAGMA synchronous = OFF")
            rows.execute("PRAGMA locking_mode = EXCLUSIVE")
            rows.execute("CREATE TABLE records (id TEXT PRIMARY KEY, line BLOB)")
            rows.execute("BEGIN")
        weakref.finalize(self, rows.close)
        return rows

    def _select(self, what: str, *values: object) -> Iterator[tuple[Any, ...]]:
        return self._rows.execute(f"SELECT {what}", values) if self._rows else iter(())

    def __contains__(self, id: object) -> bool:
        return next(self._select("1 FROM records WHERE id = ?", id), None) is not None

    def __getitem__(self, id: str) -> R:
        found = next(self._select("line FROM records WHERE id = ?", id), None)
        if found is None:
            raise KeyError(id)
        return self._record.model_validate_json(found[0])

    def __iter__(self) -> Iterator[str]:
        return (id for (id,) in self._select("id FROM records ORDER BY rowid"))

    def __len__(self) -> int:
        return int(next(self._select("COUNT(*) FROM records"), (0,))[0])
