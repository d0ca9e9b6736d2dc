"""JSON Lines, plain or gzipped, read one line at a time; what is wrong is reported with its line."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic_core import from_json

from components.core.errors import UserError

# A published message tree with all its events stays below one megabyte; the bound keeps a file without line breaks,
# or a gzip bomb, out of memory.
LONGEST_LINE = 32 * 1024 * 1024
_GZIP = b"\x1f\x8b"


def read_json_lines(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line that is not blank.

    gzip is recognised by its first bytes. Raises UserError, naming the file as `name` and the line, where a line is no
    JSON object, is longer than LONGEST_LINE bytes, or the file is damaged.
    """
    number = 0
    try:
        with _open(path) as stream:
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if line.strip():
                    yield number, _object(line, f"{name}, line {number}")
    except (EOFError, zlib.error, OSError) as error:
        raise UserError(f"{name} cannot be read beyond line {number}: {error}", "Fetch the file again.") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        zipped = stream.read(2) == _GZIP
    return cast(BinaryIO, gzip.open(path)) if zipped else path.open("rb")


def _object(line: bytes, place: str) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise UserError(f"{place} is longer than {LONGEST_LINE >> 20} MB", "Give JSON Lines: one object a line.")
    try:
        value = from_json(line)
    except ValueError as error:
        why = re.sub(r" at line \d+ column (\d+)$", r" at byte \1", str(error))  # the parser sees one line at a time
        raise UserError(
            f"{place} is not valid JSON: {why}", "Repair or remove that line; fetch the file again if it was cut off."
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{place} is not a JSON object", "Give JSON Lines: one object a line.")
    return value
