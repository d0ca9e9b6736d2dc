"""Files as people have them: each holds the same objects, or is refused with the line that is wrong."""

from __future__ import annotations

import codecs
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core import data_files
from components.core.data_files import read_json_lines
from components.core.errors import UserError

ROWS: list[dict[str, Any]] = [{"prompt": "Grüße, 😀", "n": 1}, {"prompt": 'a "]" and a ,]', "n": [1, {"a": 2}]}, {}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def read(tmp_path: Path, data: bytes) -> list[tuple[int, dict[str, Any]]]:
    path = tmp_path / "file"
    path.write_bytes(data)
    return list(read_json_lines(path, "FILE"))


FORMS = {
    "JSON Lines": LINES.encode(),
    "no last line break": LINES.strip().encode(),
    "Windows": LINES.replace("\n", "\r\n").encode(),
    "blank lines": LINES.replace("\n", "\n\n").encode(),
    "byte order mark": codecs.BOM_UTF8 + LINES.encode(),
    "UTF-16 of PowerShell": LINES.replace("\n", "\r\n").encode("utf-16"),
    "UTF-16 big-endian": codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"),
    "gzip": gzip.compress(LINES.encode()),
    "gzip with a byte order mark": gzip.compress(codecs.BOM_UTF8 + LINES.encode()),
    "ASCII": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "array on one line": json.dumps(ROWS).encode(),
    "array with an indent": json.dumps(ROWS, indent=2).encode(),
    "array behind blank lines": b"\n \n" + json.dumps(ROWS).encode(),
    "array with a byte order mark": codecs.BOM_UTF8 + json.dumps(ROWS, indent=1).replace("\n", "\r\n").encode(),
    "array in gzip": gzip.compress(json.dumps(ROWS).encode()),
    "array a line": b"[\n" + LINES.strip().replace("\n", ",\n").encode() + b"\n]\n",
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_objects(tmp_path: Path, data: bytes) -> None:
    assert [row for _, row in read(tmp_path, data)] == ROWS


def test_objects_of_an_array_have_the_line_on_which_they_begin(tmp_path: Path) -> None:
    assert [line for line, _ in read(tmp_path, b'\n[\n{"a": 1}, {"a":\n 2},\n\n{}\n]')] == [3, 3, 6]


# The names are given: gzip writes the time of day, and workers that name one test differently run none.
EMPTY = {
    "nothing": b"",
    "blank lines": b"\n\r\n",
    "array": b"[]",
    "array with blanks": b" [ ]\n",
    "byte order mark": codecs.BOM_UTF8,
    "gzip": gzip.compress(b""),
}


@pytest.mark.parametrize("data", EMPTY.values(), ids=EMPTY)
def test_a_file_without_objects_has_none(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) == []


WRONG = {
    "a trailing comma in a line": (b'{}\n{"a": 1,}\n', 2),
    "a comma behind a line": (b"{},\n{}\n", 1),
    "a trailing comma in an array": (b"[\n{},\n{},\n]", 4),
    "a missing comma": (b"[\n{}\n{}\n]", 3),
    "an array that is cut off": (b"[\n{},\n{}", 3),
    "an object that is cut off": (b'[\n{},\n{"a": \n', 4),
    "something behind the array": (b"[\n{}\n]\n{}", 4),
    "a text in the array": (b'[\n{},\n"a"]', 3),
    "an array in a later line": (b"{}\n[{}]\n", 2),
    "numbers": (b"[1, 2]", 1),
    "deep": (b"[" * 100_000, 1),
    "a huge number": (b"[\n" + b"9" * 5000 + b"]", 2),
    "half an escape": (b'{}\n{"a": "\\ud8"}', 2),
    "not UTF-8": (b'{}\n{"a": "\xff"}', 2),
}


@pytest.mark.parametrize(("data", "line"), WRONG.values(), ids=WRONG)
def test_what_is_no_json_is_refused_with_its_line(tmp_path: Path, data: bytes, line: int) -> None:
    with pytest.raises(UserError, match=rf"^FILE, line {line} is (?:no|not) "):
        read(tmp_path, data)


def test_an_array_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="FILE cannot be read beyond line 1"):
        read(tmp_path, b'[{"a": "\xff"}]')


def test_an_array_that_is_too_long_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "LONGEST_ARRAY", 1000)
    with pytest.raises(UserError, match="FILE is a JSON array of"):
        read(tmp_path, gzip.compress(b"[" + b"{}," * 5000 + b"{}]"))


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        ("\\ud83d", "\ufffd"),
        ("a\\udE00b", "a\ufffdb"),
        ("\\ud83d\\ude00", "😀"),
        ("\\ud83d\\ud83d\\ude00", "\ufffd😀"),
        ("\\ude00\\ud83d", "\ufffd\ufffd"),
        ("\\\\ud83d", "\\ud83d"),
        ("\\\\\\ud83d", "\\\ufffd"),
        ("\\uD83D\\n", "\ufffd\n"),
    ],
)
def test_half_a_surrogate_pair_is_the_sign_for_no_character(
    tmp_path: Path, escaped: str, text: str, array: bool
) -> None:
    """Python's json writes it and no UTF-8 file can hold it."""
    line = f'{{"a": "{escaped}"}}'
    [(_, row)] = read(tmp_path, (f"[{line}]" if array else line).encode())
    assert row == {"a": text}
    row["a"].encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), max_size=4), ascii=st.booleans()
)
def test_lines_and_arrays_of_any_text_are_read_back(tmp_path: Path, rows: list[dict[str, Any]], ascii: bool) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=ascii) for row in rows)
    for data in (lines, json.dumps(rows, ensure_ascii=ascii), json.dumps(rows, ensure_ascii=ascii, indent=1)):
        assert [row for _, row in read(tmp_path, data.encode())] == rows


TABLES = {
    "commas": ("message_id,parent_id,role,text\na,,prompter,hello\n", "message_id, parent_id, role, text"),
    "semicolons": ('"prompt";"chosen";"rejected"\na;b;c\n', "prompt, chosen, rejected"),
    "tabs and a byte order mark": ("\ufeffprompt\tcompletion\na\tb\n", "prompt, completion"),
}


@pytest.mark.parametrize(("text", "columns"), TABLES.values(), ids=TABLES)
def test_a_csv_is_told_to_be_one_with_the_command_that_makes_json_lines_of_it(
    text: str, columns: str, tmp_path: Path
) -> None:
    """The command is executed: what it writes is read, with the table's columns."""
    pytest.importorskip("pandas")
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"is a CSV table .its columns: {columns}") as told:
        list(read_json_lines(path, str(path)))
    command = told.value.remedy.split("python -c ", 1)[1]
    subprocess.run(f"{sys.executable} -c {command}", shell=True, cwd=tmp_path, check=True)
    ((_, row),) = read_json_lines(tmp_path / "rows.jsonl", "FILE")
    assert list(row) == columns.split(", ")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04" + b"\x00" * 30, "an Excel workbook"),
        (b"PAR1" + b"\x00" * 30, "a Parquet table"),
        (b"(\xb5/\xfd" + b"\x00" * 30, "compressed by zstd"),
        (b"BZh91AY", "compressed by bzip2"),
        (b"SQLite format 3\x00", "an SQLite database"),
    ],
)
def test_files_of_other_kinds_are_named(data: bytes, kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"FILE is no JSON, but {kind}"):
        read(tmp_path, data)


@pytest.mark.parametrize("line", [b'{"a": 1, "b": 2', b"a sentence, and another one: with signs!?", b"nonsense"])
def test_a_broken_line_is_no_csv(line: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="FILE, line 1 is not valid JSON"):
        read(tmp_path, line + b"\n")
