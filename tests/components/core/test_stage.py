"""Stage directories: keys, continuing, and publishing once."""

from __future__ import annotations

import hashlib
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.core.claims import USED
from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.records import Counts, Parent, Prompt
from components.core.stage import MANIFEST, Stage, find_manifest, read_manifest, read_records
from components.core.store import open_store
from components.pairs.settings import PairsSettings
from components.sampling.settings import SamplingSettings

DEFAULTS = SamplingSettings()
INPUT = {"model": Parent(uri="anywhere", digest="d1")}


def stage(root: Path, settings: SamplingSettings = DEFAULTS, inputs: dict[str, Parent] = INPUT) -> Stage:
    return Stage(str(root), "sampling", settings, inputs)


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(id=text, text=text) for text in texts]


def test_the_key_depends_on_what_decides_the_content(tmp_path: Path) -> None:
    key = stage(tmp_path).key
    assert stage(tmp_path, SamplingSettings(temperature=0.6)).key != key
    assert stage(tmp_path, inputs={"model": Parent(uri="anywhere", digest="d2")}).key != key
    assert Stage(str(tmp_path), "judging", SamplingSettings(), INPUT).key != key


def test_the_key_does_not_depend_on_how_or_where(tmp_path: Path) -> None:
    key = stage(tmp_path).key
    assert stage(tmp_path, SamplingSettings(concurrency=1)).key == key
    assert stage(tmp_path, inputs={"model": Parent(uri="elsewhere", digest="d1")}).key == key
    assert stage(tmp_path / "other").key == key


def test_an_unfinished_stage_keeps_its_records_and_is_not_finished(tmp_path: Path) -> None:
    stage(tmp_path).save_progress("prompts", prompts("a", "b"))
    again = stage(tmp_path)
    assert again.manifest is None
    assert list(again.load_progress("prompts", Prompt)) == ["a", "b"]
    with pytest.raises(UserError, match="no finished stage"):
        read_manifest(again.uri)


def test_a_published_stage_is_whole_and_its_progress_gone(tmp_path: Path) -> None:
    making = stage(tmp_path)
    making.save_progress("prompts", prompts("a"))
    made = making.publish(Counts(kept={"prompts": 2}, dropped={"too short": 1}), {"prompts": prompts("a", "b")})
    found = stage(tmp_path).manifest
    assert found is not None
    assert found == made
    assert (found.digest, found.counts.dropped, found.parents) == (made.digest, {"too short": 1}, INPUT)
    assert read_records(making.uri, "prompts", Prompt) == prompts("a", "b")
    assert not making.store.names("progress/")


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    one = stage(tmp_path / "1").publish(Counts(), {"prompts": prompts("a")})
    two = stage(tmp_path / "2").publish(Counts(kept={"x": 1}), {"prompts": prompts("a")}, tokens=5)
    other = stage(tmp_path / "3").publish(Counts(), {"prompts": prompts("b")})
    assert one.digest == two.digest != other.digest


def test_two_runs_that_make_one_stage_agree_on_the_first(tmp_path: Path) -> None:
    """Eight at once with different content: one manifest wins, all of them return it, and its records are whole."""
    racing = [stage(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: racing[n].publish(Counts(), {"prompts": prompts(f"p{n}")}), range(8)))
    assert len({manifest.digest for manifest in made}) == 1
    assert len(read_records(racing[0].uri, "prompts", Prompt)) == 1


def test_damaged_records_are_noticed(tmp_path: Path) -> None:
    making = stage(tmp_path)
    making.publish(Counts(), {"prompts": prompts("a")})
    name = next(name for name in making.store.names() if name.startswith("prompts-"))
    making.store.write(name, b'{"id": "a", "text": "forged"}\n')
    with pytest.raises(UserError, match="does not have the content"):
        read_records(making.uri, "prompts", Prompt)


def test_model_files_are_found_again(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    making = stage(tmp_path / "store")
    making.publish(Counts(), folder=tmp_path / "model")
    assert (model_folder(making.uri) / "config.json").read_text() == "{}"


def test_a_stage_without_model_files_is_no_model(tmp_path: Path) -> None:
    making = stage(tmp_path)
    making.publish(Counts(), {"prompts": prompts("a")})
    with pytest.raises(UserError, match="no model files"):
        model_folder(making.uri)


def test_settings_of_a_round_do_not_depend_on_other_rounds() -> None:
    schedule = PairsSettings(length_control=(0, 0, 0.1))
    assert [schedule.of_round(n).length_control for n in (1, 3, 4)] == [(0,), (0.1,), (0.1,)]
    assert schedule.of_round(1) == PairsSettings(length_control=(0,)).of_round(1)


def test_nothing_half_written_is_visible(tmp_path: Path) -> None:
    """A name in the store is there whole or not at all: a create that loses leaves the winner's bytes."""
    store = open_store(str(tmp_path))
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.read("a/b") == b"first"
    assert store.names() == ["a/b"]
    assert find_manifest(str(tmp_path)) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_is_never_published(tmp_path: Path, value: float) -> None:
    """No manifest, and none of the files that it would have named."""
    made = stage(tmp_path)
    with pytest.raises(UserError, match=r"sampling measured no number: margin is -?(nan|inf)"):
        made.publish(Counts(), {"prompts": prompts("a")}, metrics={"steps": 3.0, "margin": value})
    assert open_store(made.uri).names() == [USED]


@pytest.mark.parametrize("value", ["NaN", "null", "Infinity", "1e999"])
def test_a_manifest_with_such_a_metric_is_never_read(tmp_path: Path, value: str) -> None:
    """As earlier versions wrote them (nan as null), or another program."""
    made = stage(tmp_path)
    made.publish(Counts(), metrics={"margin": 0.25})
    written = (open_store(made.uri).read(MANIFEST) or b"").decode()
    open_store(made.uri).write(MANIFEST, written.replace("0.25", value).encode())
    for read in (find_manifest, read_manifest, lambda _: stage(tmp_path)):
        with pytest.raises(UserError, match=r"manifest.json is no valid manifest: metrics.margin"):
            read(made.uri)


def test_unfinished_records_that_the_store_has_changed_are_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte that flips would be another text, which no manifest speaks against yet; half an object, a defect."""
    making = stage(tmp_path)
    for text in "abc":
        making.save_progress("prompts", prompts(text))
    first, second, _ = making.store.names("progress/prompts/")
    making.store.write(first, (making.store.read(first) or b"").replace(b'"text": "a"', b'"text": "x"'))
    making.store.write(second, (making.store.read(second) or b"")[:7])
    assert list(stage(tmp_path).load_progress("prompts", Prompt)) == ["c"]
    assert capsys.readouterr().err.count("is damaged or of another version: its prompts are made again") == 2


def test_unfinished_records_of_an_earlier_version_are_kept(tmp_path: Path) -> None:
    """Their names told nothing of their content."""
    making = stage(tmp_path)
    making.store.write("progress/prompts/1764000000000000000-0a1b2c3d.jsonl", b'{"id": "a", "text": "b"}\n')
    assert stage(tmp_path).load_progress("prompts", Prompt)["a"].text == "b"


def test_who_was_killed_between_manifest_and_end_leaves_no_progress_for_long(tmp_path: Path) -> None:
    making, beside = stage(tmp_path), stage(tmp_path)
    making.publish(Counts(), {"prompts": prompts("a")})
    beside.save_progress("prompts", prompts("a"))
    assert stage(tmp_path).manifest
    assert not making.store.names("progress/")


def test_what_a_newer_version_wrote_is_told_and_kept(tmp_path: Path) -> None:
    """Not: "delete that stage's folder"."""
    making = stage(tmp_path)
    made = making.publish(Counts(), {"prompts": prompts("a")})
    written = made.model_dump()
    (name,) = made.files
    data = b'{"id": "a", "text": "b", "mood": "good"}\n'
    making.store.write(name, data)
    written["files"][name] |= {"sha256": hashlib.sha256(data).hexdigest()}
    making.store.write(MANIFEST, json.dumps(written).encode())
    with pytest.raises(UserError, match=r"prompts-\w+.jsonl was written by a newer version of this code: mood") as told:
        read_records(making.uri, "prompts", Prompt)
    assert "Install that version" in told.value.remedy and "Delete" not in str(told.value)
    making.store.write(MANIFEST, json.dumps({**written, "form": 9}).encode())
    with pytest.raises(UserError, match=r"manifest.json was written by a newer version of this code: form"):
        read_manifest(making.uri)


@pytest.mark.parametrize("name", ["/etc/passwd", "files-0/../../x", "..", "files-0//x", "files-0/\0", ""])
def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """Fetching its model would write there."""
    making = stage(tmp_path)
    written = making.publish(Counts()).model_dump()
    written["files"] = {name: {"sha256": "0" * 64, "bytes": 1}}
    making.store.write(MANIFEST, json.dumps(written).encode())
    with pytest.raises(UserError, match="is no place inside the stage"):
        find_manifest(making.uri)
