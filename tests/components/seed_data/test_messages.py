"""Both published forms, whatever the file's name, give the same messages; anything else gives one readable error."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from components.core import data_files
from components.core.errors import UserError
from components.seed_data.messages import Message, read_messages


def read(path: str) -> list[Message]:
    return list(read_messages(Path(path), "FILE"))


def deep_thread(thread):
    """A first turn with a second question below its best reply, and an answer to that."""
    rows = thread("p", [0, 1])
    follow_up = rows[0] | {"message_id": "q", "parent_id": "p-0", "text": "and then?"}
    answer = rows[1] | {"message_id": "a", "parent_id": "q"}
    return [*rows, follow_up, answer]


def test_tree_and_table_give_the_same_messages(thread, json_lines, as_tree):
    rows = deep_thread(thread)
    tree = read(json_lines([as_tree(rows)], "tree"))
    flat = read(json_lines(rows, "flat"))
    assert sorted(tree, key=lambda m: m.message_id) == sorted(flat, key=lambda m: m.message_id)
    assert {m.message_id: m.parent_id for m in tree} == {"p": None, "p-0": "p", "p-1": "p", "q": "p-0", "a": "q"}


def test_gzip_and_parquet_are_recognised_by_content(thread, json_lines, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    rows = thread("p", [0, None])
    plain = json_lines(rows, "plain.parquet")
    zipped, table = tmp_path / "zipped.txt", tmp_path / "table.jsonl.gz"
    zipped.write_bytes(gzip.compress(Path(plain).read_bytes()))
    write_table(pyarrow.Table.from_pylist(rows), table)
    assert read(plain) == read(str(zipped)) == read(str(table))
    assert [m.rank for m in read(str(table))] == [None, 0, None]


def test_fields_without_a_value_may_be_absent(json_lines):
    """The published trees leave out what is null."""
    bare = {"message_id": "p", "role": "prompter", "text": "hello"}
    [message] = read(json_lines([{"prompt": bare}]))
    assert (message.parent_id, message.rank, message.lang, message.tree_state) == (None, None, None, None)


def test_blank_lines_are_no_messages(thread, json_lines):
    path = Path(json_lines(thread("p", [0])))
    path.write_text(path.read_text().replace("\n", "\n\n"))
    assert len(read(str(path))) == 2


def test_what_pandas_writes_is_read(thread, json_lines, tmp_path):
    """A column of ranks with gaps is one of floats, and NaN is no value: in JSON and in Parquet."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    rows = thread("p", [0, 1])
    pandas = [row | {"rank": float("nan") if row["rank"] is None else float(row["rank"])} for row in rows]
    pandas[0] |= {"parent_id": float("nan"), "review_result": float("nan")}
    assert read(json_lines(pandas, "pandas")) == read(json_lines(rows, "rows"))
    table = pyarrow.Table.from_pylist([{**row, "parent_id": None, "review_result": None} for row in pandas])
    write_table(table, tmp_path / "pandas.parquet")
    assert [m.rank for m in read(str(tmp_path / "pandas.parquet"))] == [None, 0, 1]


def test_half_a_surrogate_pair_in_a_text_is_one_unknown_character(thread, json_lines):
    rows = thread("p", [0])
    rows[1]["text"] = "smile \ud83d"
    assert [message.text for message in read(json_lines(rows))][1] == "smile \ufffd"


WRONG_FIELDS = [
    {"rank": 1.5},
    {"rank": float("inf")},
    {"message_id": None},
    {"role": "human"},
    {"text": 7},
    {"text": "a\x00b"},
    {"rank": "0"},
    {"rank": -1},
    {"rank": True},
    {"deleted": "no"},
    {"lang": ["en"]},
]


@pytest.mark.parametrize("wrong", WRONG_FIELDS, ids=str)
def test_a_wrong_field_is_named_with_its_line(wrong, thread, json_lines):
    rows = thread("p", [0, 1])
    rows[2] |= wrong
    with pytest.raises(UserError, match=rf"^FILE, line 3 is not a message of a known form: {next(iter(wrong))}: "):
        read(json_lines(rows))


@pytest.mark.parametrize("field", ["message_id", "role", "text"])
def test_a_missing_field_is_named_with_its_line(field, thread, json_lines):
    rows = thread("p", [0])
    del rows[1][field]
    with pytest.raises(UserError, match=f"^FILE, line 2 .*{field}: is missing"):
        read(json_lines(rows))


HOSTILE = {
    "cut off": b'{"message_id": "x", "te',
    "not an object": b"[1, 2]",
    "other form": b'{"instruction": "a", "output": "b"}',
    "prompt is text": b'{"prompt": "a", "completion": "b"}',
    "replies no list": b'{"prompt": {"message_id": "r", "role": "prompter", "text": "t", "replies": {"a": 1}}}',
    "reply no object": b'{"prompt": {"message_id": "r", "role": "prompter", "text": "t", "replies": ["a"]}}',
    "raw NUL": b'{"message_id": "\x00"}',
    "binary": bytes(range(256)).replace(b"\n", b""),
    "deep": b'{"prompt":' * 100_000,
    "deep array": b"[" * 100_000,
    "lone surrogate": b'{"message_id": "\\ud800", "role": "prompter", "text": "t"}',
    "not UTF-8": b'{"message_id": "\xff"}',
    "huge number": b'{"message_id": "x", "role": "prompter", "text": "t", "rank": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_line_ends_in_one_error_with_its_number(line, thread, json_lines):
    """Three good lines come first, so the bad one is the fourth."""
    path = Path(json_lines(thread("p", [0, 1])))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(UserError, match="FILE, line 4"):
        read(str(path))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch, thread, json_lines):
    monkeypatch.setattr(data_files, "LONGEST_LINE", 1000)
    path = json_lines([*thread("p", [0]), {"message_id": "x" * 2000}])
    with pytest.raises(UserError, match="FILE, line 3 is longer than"):
        read(path)


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:30] + b"\x55" * 30 + data[60:]])
def test_a_damaged_gzip_says_how_far_it_went(damage, tmp_path):
    path = tmp_path / "data.gz"
    path.write_bytes(damage(gzip.compress(json.dumps({"message_id": "x"}).encode() * 50)))
    with pytest.raises(UserError, match="FILE cannot be read beyond line 0"):
        read(str(path))


def test_a_damaged_parquet_table_is_one_error(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "data"
    path.write_bytes(b"PAR1" + b"junk" * 100)
    with pytest.raises(UserError, match="FILE cannot be read as Parquet beyond row 0"):
        read(str(path))


def test_a_parquet_table_of_something_else_is_one_error(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pyarrow.table({"instruction": ["a"]}), tmp_path / "data")
    with pytest.raises(UserError, match="FILE, row 1 is not a message"):
        read(str(tmp_path / "data"))
