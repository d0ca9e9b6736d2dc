"""Files of records that are too large to be held: written and read by way of this machine's disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core import record_files
from components.core.errors import UserError
from components.core.record_table import NumberTable, RecordTable
from components.core.records import Counts, Parent, Prompt
from components.core.scratch import scratch_root
from components.core.settings import Settings
from components.core.stage import Stage, each_record, read_manifest
from components.core.store import DirectoryStore

PROMPTS = [Prompt(id=str(n), text=f"prompt {n} ä\n\u2028") for n in range(100)]


@pytest.fixture(params=[10, record_files.AT_ONCE], ids=["large", "small"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stage of a hundred prompts, whose file is large, or small."""
    monkeypatch.setattr(record_files, "AT_ONCE", request.param)
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    stage = Stage(str(tmp_path), "prompts", Settings(), {"model": Parent(uri="x", digest="d")})
    stage.publish(Counts(), {"prompts": iter(PROMPTS)})
    return stage.uri


def test_what_is_published_is_read_whatever_its_size(uri: str) -> None:
    """The file is the same, byte for byte, and nothing of it stays on this machine, even where reading ends early."""
    assert list(each_record(uri, "prompts", Prompt)) == PROMPTS
    assert next(each_record(uri, "prompts", Prompt)) == PROMPTS[0]
    [(name, file)] = read_manifest(uri).files.items()
    assert file.records == 100
    assert Path(uri, name).read_bytes() == b"".join(map(record_files.json_line, PROMPTS))
    assert list(scratch_root().glob("*")) == []


def test_what_the_store_has_changed_or_lost_is_refused(uri: str) -> None:
    [name] = read_manifest(uri).files
    for damage in (lambda path: path.write_bytes(path.read_bytes().replace(b"7", b"8")), Path.unlink):
        damage(Path(uri, name))
        with pytest.raises(UserError, match="does not have the content that its manifest promises"):
            list(each_record(uri, "prompts", Prompt))


def test_what_arrives_damaged_is_fetched_again(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large file: a small one is one request, whose checksum the store's client looks at."""
    real, broken = DirectoryStore.download, iter([True, False])

    def download(store: DirectoryStore, name: str, path: Path) -> None:
        real(store, name, path)
        if next(broken):
            path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(DirectoryStore, "download", download)
    assert list(each_record(uri, "prompts", Prompt)) == PROMPTS


def test_a_table_keeps_the_first_of_an_id_and_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))

    def given() -> Iterator[Prompt]:
        yield from PROMPTS
        yield Prompt(id="7", text="another")

    table = RecordTable(Prompt, given())
    assert list(table) == [prompt.id for prompt in PROMPTS] and list(table.values()) == PROMPTS
    assert table["7"].text.startswith("prompt 7") and "7" in table and "x" not in table and len(table) == 100
    with pytest.raises(KeyError):
        table["x"]
    assert list(scratch_root().glob("*")) == []


def test_a_table_of_numbers_is_a_dict_of_tuples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds is what a dict would hold after the same changes, in the same order, to the last bit."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))
    table, expected = NumberTable(tuple), dict[str, tuple[float, ...]]()
    assert len(table) == 0 and "b" not in table and list(table) == []
    for both in (table, expected):
        both["b"], both["a"], both["c"] = (0.1 + 0.2, -0.0), (1.0,), ()
        both["b"] = (1 / 3, float("inf"))  # keeps its place
        del both["c"]
    assert list(table.items()) == list(expected.items()) and table == expected
    for missing in (table.__getitem__, table.__delitem__, NumberTable(tuple).__delitem__):
        with pytest.raises(KeyError):
            missing("c")
    assert list(scratch_root().glob("*")) == []
