"""Before the server starts: its database gets the schema of this MLflow, which starts with no other.

Migrations cannot be undone, so a copy of SQLite's file as it was stays beside it, named by its schema.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.db import commands

SQLITE = "sqlite:///"


def revision(path: Path) -> str:
    """The schema of a database file; "" where it has none yet."""
    with closing(sqlite3.connect(path)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return ""
        return "-".join(name for (name,) in database.execute("SELECT version_num FROM alembic_version"))


def upgrade(uri: str) -> None:
    commands(["upgrade", uri], standalone_mode=False)


def upgrade_file(path: Path) -> None:
    before, copy = revision(path), path.with_name("before-upgrade.db")
    with closing(sqlite3.connect(path)) as database, closing(sqlite3.connect(copy)) as target:
        database.backup(target)
    upgrade(f"{SQLITE}{path}")
    if revision(path) == before:
        copy.unlink()
    else:
        copy.replace(path.with_name(f"mlflow-{before}.db"))
        print(f"upgraded {path} from schema {before} to {revision(path)}; as it was: mlflow-{before}.db")


uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
file = Path(uri.removeprefix(SQLITE))
if not uri.startswith(SQLITE):
    upgrade(uri)
elif file.exists() and revision(file):
    upgrade_file(file)
