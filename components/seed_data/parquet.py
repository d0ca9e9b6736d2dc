"""Rows of a Parquet table, a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from components.core.errors import UserError

_MAGIC = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Whether the file says so itself, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(4) == _MAGIC


def read_rows(path: Path, name: str, columns: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
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
