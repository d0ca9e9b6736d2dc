"""Data files that users give, one record at a time: JSON Lines or a JSON array, plain or gzipped, and Parquet tables.

Which one a file is shows in its content and not in its name; so do UTF-16 and a byte order mark. What is wrong is
reported with its line or row.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic_core import from_json

from components.core.errors import UserError

# A published message tree with all its events stays below one megabyte; the bound keeps a file without line breaks,
# or a gzip bomb, out of memory.
LONGEST_LINE = 32 * 1024 * 1024
LONGEST_ARRAY = 1024 * 1024 * 1024  # bytes of a file that is one JSON array: it is parsed in memory
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
# First bytes of files that are told from JSON, and what to do about them; {name} is the file's.
_PANDAS = (
    "Write it as JSON Lines: "
    "python -c \"import pandas; pandas.{read}.to_json('rows.jsonl', orient='records', lines=True)\""
)
_OTHERS = {
    _PARQUET: ("a Parquet table, which is read for messages alone", _PANDAS.format(read="read_parquet({name!r})")),
    b"PK\x03\x04": ("an Excel workbook, or another zip archive", _PANDAS.format(read="read_excel({name!r})")),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", _PANDAS.format(read="read_excel({name!r})")),
    b"ARROW1": ("an Arrow table", _PANDAS.format(read="read_feather({name!r})")),
    b"(\xb5/\xfd": ("compressed by zstd", "Unpack it (zstd -d), or compress it by gzip."),
    b"BZh": ("compressed by bzip2", "Unpack it (bunzip2), or compress it by gzip."),
    b"\xfd7zXZ": ("compressed by xz", "Unpack it (unxz), or compress it by gzip."),
    b"SQLite format 3": ("an SQLite database", "Write the rows as JSON Lines: one object a line."),
}
_COLUMN = re.compile(r"[\w .:/()-]{1,60}")

_SPACE = re.compile(r"[ \t\r\n]*")
# Escapes in JSON: a surrogate pair, a half of one, any other.
_ESCAPE = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL)
NO_UNICODE = "\ufffd"  # in place of what is no character


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(len(_PARQUET)) == _PARQUET


def read_json_lines(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line that is not blank, or of each object in a JSON array.

    Raises UserError, naming the file as `name` and the line, where something is no JSON object, a line is longer than
    LONGEST_LINE bytes, or the file is damaged.
    """
    number = blank = 0
    _refuse_others(path, name)
    try:
        with _opened(path) as stream:
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if number == 1 + blank and line.lstrip().startswith(b"["):
                    yield from _array(line + stream.read(LONGEST_ARRAY), name, number)
                elif line.strip():
                    if number == 1 + blank:
                        _refuse_csv(line, name)
                    yield number, _object(line, f"{name}, line {number}")
                blank += not line.strip()
    except (EOFError, zlib.error, OSError, UnicodeError) as error:
        raise UserError(f"{name} cannot be read beyond line {number}: {error}", "Fetch the file again.") from error


def _refuse_others(path: Path, name: str) -> None:
    """Raises UserError where the file's first bytes are those of a known kind that is no JSON."""
    with path.open("rb") as stream:
        begin = stream.read(16)
    for magic, (kind, remedy) in _OTHERS.items():
        if begin.startswith(magic):
            raise UserError(f"{name} is no JSON, but {kind}", remedy.format(name=name))


def _refuse_csv(line: bytes, name: str) -> None:
    """Raises UserError where the first line is that of a table's columns: two or more short names, and no JSON."""
    text = line[:10_000].decode(errors="replace").strip()
    for separator in (",", ";", "\t", "|"):
        columns = [column.strip().strip('"') for column in text.split(separator)]
        if len(columns) > 1 and all(map(_COLUMN.fullmatch, columns)):
            read = _PANDAS.format(read=f"read_csv({name!r}, sep={separator!r})")
            listed = ", ".join(columns[:8]) + (", ..." if len(columns) > 8 else "")
            raise UserError(f"{name} is a CSV table (its columns: {listed}), and JSON Lines are read", read)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes as UTF-8, unpacked and without byte order mark. gzip is recognised by its first bytes."""
    with path.open("rb") as raw:
        zipped = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb") if zipped else raw)
        mark = stream.read(len(codecs.BOM_UTF8))
        if mark != codecs.BOM_UTF8:
            stream.seek(0)
        if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # PowerShell, Excel
            stream = cast(BinaryIO, codecs.EncodedFile(stream, "utf-8", "utf-16"))
        yield stream


def _array(data: bytes, name: str, line: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON array with the lines on which they begin; `data` begins in that line of the file."""
    if len(data) >= LONGEST_ARRAY:
        raise UserError(
            f"{name} is a JSON array of {LONGEST_ARRAY >> 20} MB or more", "Give JSON Lines: one object a line."
        )
    text, decoder, sign = without_halves(data).decode(), json.JSONDecoder(), ","
    place = counted = text.index("[") + 1
    if text[place:].lstrip()[:1] == "]":
        sign, place = "]", text.index("]") + 1
    while sign == ",":
        place = _behind_space(text, place)
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:  # a comma before the end is an object that is missing
            line += text.count("\n", place, getattr(error, "pos", place))
            raise _no_json(getattr(error, "msg", error), f"{name}, line {line}") from error
        yield line, _record(value, f"{name}, line {line}")
        place = _behind_space(text, end)
        sign, place = text[place : place + 1], place + 1
    rest = _behind_space(text, place)
    if sign != "]" or rest < len(text):
        line += text.count("\n", counted, rest if sign == "]" else place)
        raise _no_json("the array is not closed, or something follows it", f"{name}, line {line}")


def _behind_space(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    return space.end() if space else place


def _object(line: bytes, where: str) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise UserError(f"{where} is longer than {LONGEST_LINE >> 20} MB", "Give JSON Lines: one object a line.")
    try:
        value = from_json(without_halves(line))
    except ValueError as error:
        raise _no_json(error, where) from error
    return _record(value, where)


def without_halves(data: bytes) -> bytes:
    """JSON in which each half of a surrogate pair, which no UTF-8 text can hold, is the sign for an unknown one."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    return _ESCAPE.sub(lambda escape: b"\\ufffd" if escape["half"] else escape[0], data)


def _no_json(why: object, where: str) -> UserError:
    problem = re.sub(r" at line \d+ column (\d+)$", r" at byte \1", str(why))  # the parser sees one line at a time
    return UserError(
        f"{where} is not valid JSON: {problem}", "Repair or remove that line; fetch the file again if it was cut off."
    )


def _record(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} is not a JSON object", "Give JSON Lines: one object a line.")
    return value


def read_parquet_rows(path: Path, name: str, columns: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row number (from 1) and the row, with those of `columns` that the table has; UserError where it is damaged."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as table:
            present = [column for column in table.schema_arrow.names if column in columns]
            for batch in table.iter_batches(batch_size=1000, columns=present):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, UnicodeError) as error:
        problem = f"{name} cannot be read as Parquet beyond row {number}: {error}"
        raise UserError(problem, "Fetch the file again.") from error
