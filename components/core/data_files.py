"""Data files that users give, one record at a time: JSON Lines, plain or gzipped, and Parquet tables.

Which one a file is shows in its content and not in its name. What is wrong is reported with its line or row.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from components.core.errors import UserError

# A published message tree with all its events stays below one megabyte; the bound keeps a file without line breaks,
# or a gzip bomb, out of memory.
LONGEST_LINE = 32 * 1024 * 1024
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(len(_PARQUET)) == _PARQUET


def read_json_lines(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line that is not blank.

    gzip is recognised by its first bytes. Raises UserError, naming the file as `name` and the line, where a line is no
    JSON object, is longer than LONGEST_LINE bytes, or the file is damaged.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            with gzip.open(raw) if zipped else raw as stream:
                while line := stream.readline(LONGEST_LINE + 1):
                    number += 1
                    if line.strip():
                        yield number, _object(line, f"{name}, line {number}")
    except (EOFError, zlib.error, OSError) as error:
        raise UserError(f"{name} cannot be read beyond line {number}: {error}", "Fetch the file again.") from error


def _object(line: bytes, where: str) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise UserError(f"{where} is longer than {LONGEST_LINE >> 20} MB", "Give JSON Lines: one object a line.")
    try:
        value = from_json(line)
    except ValueError as error:
        why = re.sub(r" at line \d+ column (\d+)$", r" at byte \1", str(error))  # the parser sees one line at a time
        raise UserError(
            f"{where} is not valid JSON: {why}", "Repair or remove that line; fetch the file again if it was cut off."
        ) from error
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
    except (pyarrow.ArrowException, OSError) as error:
        problem = f"{name} cannot be read as Parquet beyond row {number}: {error}"
        raise UserError(problem, "Fetch the file again.") from error
