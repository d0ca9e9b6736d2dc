"""Toy messages in OpenAssistant's published forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]


@pytest.fixture
def thread() -> Callable[..., list[Row]]:
    """Rows of one first turn: a prompt `id` and one reply for each of `ranks`; `fields` go into every row."""

    def rows(id: str, ranks: list[int | None], text: str | None = None, **fields: Any) -> list[Row]:
        common = {"lang": "en", "deleted": False, "tree_state": "ready_for_export"} | fields
        prompt = {
            "message_id": id,
            "parent_id": None,
            "role": "prompter",
            "text": text or f"question {id}",
            "rank": None,
        }
        replies = [
            {"message_id": f"{id}-{n}", "parent_id": id, "role": "assistant", "text": f"reply {id} {n}", "rank": rank}
            for n, rank in enumerate(ranks)
        ]
        return [row | common for row in [prompt, *replies]]

    return rows


@pytest.fixture
def json_lines(tmp_path: Path) -> Callable[..., str]:
    """Write objects as JSON Lines, and return the path."""

    def write(rows: list[Any], name: str = "data.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def as_tree() -> Callable[[list[Row]], Row]:
    """The same messages as one message tree: parent and state are told by the nesting and by the tree."""

    def nest(rows: list[Row]) -> Row:
        nodes = {
            row["message_id"]: {k: v for k, v in row.items() if k not in ("parent_id", "tree_state")} for row in rows
        }
        for row in rows[1:]:
            nodes[row["parent_id"]].setdefault("replies", []).append(nodes[row["message_id"]])
        first = rows[0]
        return {
            "message_tree_id": first["message_id"],
            "tree_state": first["tree_state"],
            "prompt": nodes[first["message_id"]],
        }

    return nest
