"""Records on this machine's disk, numbers computed of them, and what is made of them anew each time: a million take no
memory (issue 16)."""

from __future__ import annotations

import sqlite3
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from components.core.record_files import json_line
from components.core.records import Record
from components.core.scratch import scratch_folder

R = TypeVar("R", bound=Record)
N = TypeVar("N", bound=tuple[float, ...])
T = TypeVar("T")


@dataclass(frozen=True)
class Again(Generic[T]):
    """What can be gone through again and again, and is never there as a whole."""

    each: Callable[[], Iterator[T]]

    def __iter__(self) -> Iterator[T]:
        return self.each()


class _Table:
    """Bytes by id, in the order in which they came.

    The file loses its name as soon as it is open: whatever ends the process, nothing of it is left.
    """

    _insertion: str  # SQL of a row: what becomes of an id that is there
    _rows: sqlite3.Connection | None = None  # who only looks at what there is leaves no folder behind

    def _insert(self, rows: Iterator[tuple[str, bytes]]) -> None:
        if first := next(rows, None):
            self._rows = self._rows or self._open()
            self._rows.executemany(self._insertion, chain([first], rows))

    def _open(self) -> sqlite3.Connection:
        with scratch_folder() as folder:
            rows = sqlite3.connect(folder / "rows", isolation_level=None)
            rows.execute("PRAGMA journal_mode = OFF")  # what is not whole is lost with its process, as it should
            rows.execute("PRAGMA synchronous = OFF")
            rows.execute("PRAGMA locking_mode = EXCLUSIVE")
            rows.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, line BLOB)")
            rows.execute("BEGIN")
        weakref.finalize(self, rows.close)
        return rows

    def _select(self, what: str, *values: object) -> Iterator[tuple[Any, ...]]:
        return self._rows.execute(f"SELECT {what}", values) if self._rows else iter(())

    def _line(self, id: str) -> bytes:
        found = next(self._select("line FROM rows WHERE id = ?", id), None)
        if found is None:
            raise KeyError(id)
        return bytes(found[0])

    def __contains__(self, id: object) -> bool:
        return next(self._select("1 FROM rows WHERE id = ?", id), None) is not None

    def __iter__(self) -> Iterator[str]:
        return (id for (id,) in self._select("id FROM rows ORDER BY rowid"))

    def __len__(self) -> int:
        return int(next(self._select("COUNT(*) FROM rows"), (0,))[0])


class RecordTable(_Table, Mapping[str, R]):
    """Records by id, in the order in which they came; of one id the first stays."""

    _insertion = "INSERT OR IGNORE INTO rows VALUES (?, ?)"

    def __init__(self, record: type[R], records: Iterable[R] = ()) -> None:
        self._record = record
        self.add(records)

    def add(self, records: Iterable[R]) -> None:
        self._insert((record.id, json_line(record)) for record in records)

    def __getitem__(self, id: str) -> R:
        return self._record.model_validate_json(self._line(id))


class NumberTable(_Table, MutableMapping[str, N]):
    """A few numbers by id, in the order in which the ids came first; `form` makes what is given back of them."""

    _insertion = "INSERT INTO rows VALUES (?, ?) ON CONFLICT DO UPDATE SET line = excluded.line"

    def __init__(self, form: Callable[[Iterable[float]], N]) -> None:
        self._form = form

    def __getitem__(self, id: str) -> N:
        return self._form(array("d", self._line(id)))

    def __setitem__(self, id: str, numbers: N) -> None:
        self._insert(iter([(id, array("d", numbers).tobytes())]))

    def __delitem__(self, id: str) -> None:
        if not self._rows or not self._rows.execute("DELETE FROM rows WHERE id = ?", [id]).rowcount:
            raise KeyError(id)
