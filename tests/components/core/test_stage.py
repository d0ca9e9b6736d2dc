"""Stage directories: keys, continuing, and publishing once."""

from __future__ import annotations

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
