"""Files of records, one JSON object a line: written and read line by line, so that a million take no memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterable
from itertools import chain
from typing import IO

from components.core.hashing import file_hash
from components.core.records import File, Record
from components.core.scratch import scratch_folder
from components.core.store import Store

AT_ONCE = 8 * 2**20  # bytes of a file that is read and written in one piece: as many as boto3 sends in one request
FETCHES = 2  # of a file whose content is not the published one: the way may have changed it


def json_line(record: Record) -> bytes:
    """With sorted keys, so that equal records have equal lines."""
    return json.dumps(record.model_dump(mode="json"), ensure_ascii=False, sort_keys=True).encode() + b"\n"


def store_records(store: Store, kind: str, records: Iterable[Record]) -> tuple[str, File]:
    """The file's name, which its content gives it, and what it holds: another run's version cannot be overwritten."""
    lines, first, size = map(json_line, records), list[bytes](), 0
    while size <= AT_ONCE and (line := next(lines, b"")):
        first.append(line)
        size += len(line)
    if size <= AT_ONCE:
        data = b"".join(first)
        stored = File(sha256=hashlib.sha256(data).hexdigest(), bytes=size, records=len(first))
        store.write(name := _name(kind, stored), data)
        return name, stored
    with scratch_folder() as folder:
        path, sha256, number = folder / kind, hashlib.sha256(), 0
        with path.open("wb") as file:
            for number, line in enumerate(chain(first, lines), 1):  # noqa: B007  how many there are
                sha256.update(line)
                file.write(line)
        stored = File(sha256=sha256.hexdigest(), bytes=path.stat().st_size, records=number)
        store.upload(path, name := _name(kind, stored))
    return name, stored


def _name(kind: str, stored: File) -> str:
    return f"{kind}-{stored.sha256[:12]}.jsonl"


def fetch_lines(store: Store, name: str, file: File) -> IO[bytes] | None:
    """A published file, open; None where the store's content is not the published one, or there is none.

    A large one is fetched to this machine's disk, where it has no name any more: nothing has to be removed.
    """
    if file.bytes <= AT_ONCE:
        data = store.read(name) or b""
        return io.BytesIO(data) if hashlib.sha256(data).hexdigest() == file.sha256 else None
    with scratch_folder() as folder:
        path = folder / "records"
        for _ in range(FETCHES):
            with contextlib.suppress(FileNotFoundError):
                store.download(name, path)
                if file_hash(path) == file.sha256:
                    return path.open("rb")
    return None
