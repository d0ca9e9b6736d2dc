"""What gc takes from generated stores, and what it never takes: whatever the lineage of a version names."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core.claims import REMOVAL, USED
from components.core.journal import write_journal
from components.core.records import Counts, Parent, Prompt
from components.core.settings import Settings
from components.core.stage import MANIFEST, Stage, find_manifest, parent, read_manifest
from components.core.store import DirectoryStore, open_store
from components.registry.client import DIGEST, GATE, MEASURED, RUN, STAGE
from components.registry.lineage import lineage
from components.registry.versions import Version
from components.run.garbage import Plan, Rules, carry_out, named, plan
from tests.helpers.old_stages import age

Made = list[tuple[str, list[int], float, str]]
MONTH = timedelta(days=30)
KINDS = ("seed_data", "sft", "prompts", "sampling", "judging", "pairs", "dpo", "evaluation", "gate")


class KilledError(BaseException):
    """Nothing that a program catches."""


def make(root: Path, kind: str, number: int, parents: Sequence[str], days: float) -> str:
    """A finished stage whose record is its number; every third has what a crash left."""
    outside = {"messages": Parent(uri="builtin:demo", digest=str(number))}
    inputs = outside | {f"input_{place}": parent(uri) for place, uri in enumerate(dict.fromkeys(parents))}
    stage = Stage(str(root), kind, Settings(), inputs)
    folder = root / f"weights-{number}" if kind in ("sft", "dpo") else None
    if folder:
        folder.mkdir()
        (folder / 'model "1".safetensors').write_text(str(number))
    stage.publish(Counts(), {"records": [Prompt(id="1", text=str(number))]}, folder)
    if number % 3 == 0:
        stage.save_progress("records", [Prompt(id="2", text="left")])
    if folder:
        shutil.rmtree(folder)
    age(stage.uri, timedelta(days=days))
    return stage.uri


def version(
    model: str, measured: Sequence[str] = (), gate: str = "", run: str = "run-1", name: str = "demo"
) -> Version:
    """As `register` tags it."""
    digest = read_manifest(model).digest
    tags = {DIGEST: digest, RUN: run, STAGE: model, MEASURED: json.dumps(list(measured)), GATE: gate}
    return Version("demo", digest, run, (f"folder://{model}/files-0123456789ab", *tags.values()))


def note(root: Path, run: str, stages: Sequence[str], days: float, ended: bool, **models: Version | None) -> None:
    """The journal of a run."""
    for number, uri in enumerate(stages):
        write_journal(str(root), run, "stages", f"m{number}/x", {"name": "x", "uri": uri, "started": 1.0})
    for name, one in models.items():
        noted = {"registered_name": one.name, "digest": one.digest, "version": "1"} if one else {"version": None}
        write_journal(str(root), run, "models", name, noted)
    age(root / "runs" / run, timedelta(days=days))
    if ended:
        open_store(str(root / "runs" / run)).write("summary.json", b"{}")
        age(root / "runs" / run, timedelta(days=days))


@dataclass
class World:
    """A generated store: URIs of its stages, versions of its registry, runs that are recent."""

    root: Path
    uris: list[str] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    recent: list[str] = field(default_factory=list)

    def judge(self, **rules: object) -> Plan:
        return plan(str(self.root), lambda: self.versions, Rules(**{"older_than": MONTH, **rules}))  # type: ignore[arg-type]

    def of_lineage(self) -> set[str]:
        """All that `srlm lineage` names of any version."""
        named_there = (lineage(uri) for uri in self.models)
        return {one.uri for ancestors in named_there for one in ancestors if one.stage}

    def check(self) -> None:
        """Every stage that has a manifest is whole; every lineage is what it was, without a problem."""
        for uri in self.uris:
            manifest = find_manifest(uri)
            assert not manifest or all(open_store(uri).read(name) is not None for name in manifest.files)
        for uri in self.models:
            assert not [one for one in lineage(uri) if one.problem]


@st.composite
def worlds(draw: st.DrawFn) -> Made:
    """Stages in the order in which they are made: kind, parents, age in days, and what refers to it."""
    count = draw(st.integers(1, 12))
    made = []
    for number in range(count):
        parents = draw(st.lists(st.integers(0, number - 1), max_size=3)) if number else []
        days = draw(st.sampled_from([0.0, 5.0, 40.0, 90.0]))
        refers = draw(st.sampled_from(["", "", "", "version", "measured", "gate", "recent run", "open run", "old run"]))
        made.append((draw(st.sampled_from(KINDS)), parents, days, refers))
    return made


def build(root: Path, made: Made) -> World:
    world = World(root)
    for number, (kind, parents, days, refers) in enumerate(made):
        uri = make(root, kind, number, [world.uris[one] for one in parents], days)
        world.uris.append(uri)
        if refers in ("version", "measured", "gate"):
            model = uri if refers == "version" else make(root, "sft", 100 + number, [], 90)
            measured, gate = [uri] if refers == "measured" else [], uri if refers == "gate" else ""
            world.versions.append(version(model, measured, gate))
            world.models += [model, uri]
        elif refers:
            days_of_run, ended = {"recent run": (5, True), "open run": (13, False), "old run": (90, True)}[refers]
            note(root, f"{refers.replace(' ', '-')}-{number}", [uri], days_of_run, ended)
            world.recent += [uri] if refers != "old run" else []
    return world


def needed(world: World) -> set[str]:
    """By another way than the code's: lineage of what is registered, noted by recent runs, or young."""
    young = [uri for uri in world.uris if datetime.now(UTC).timestamp() - _modified(uri) < MONTH.total_seconds()]
    found = world.of_lineage()
    for uri in [*world.recent, *young]:
        found |= {one.uri for one in lineage(uri) if one.stage}
    return found


def _modified(uri: str) -> float:
    return max(path.stat().st_mtime for path in Path(uri).rglob("*") if path.is_file())


def remaining(world: World) -> set[str]:
    return {uri for uri in world.uris if find_manifest(uri)}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=worlds())
def test_what_is_needed_stays_and_all_else_goes(tmp_path_factory: pytest.TempPathFactory, made: Made) -> None:
    world = build(tmp_path_factory.mktemp("store"), made)
    keep = needed(world)
    before = {uri: open_store(uri).objects() for uri in world.uris}
    judged = world.judge()
    assert {uri: open_store(uri).objects() for uri in world.uris} == before  # to judge changes nothing
    list(carry_out(str(world.root), judged))
    world.check()
    assert remaining(world) == keep & set(world.uris)
    assert all(open_store(uri).names() == [] for uri in set(world.uris) - keep)
    assert not world.judge().goes()  # nothing is left for the next time


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=worlds(), survived=st.integers(0, 25))
def test_killed_anywhere_it_leaves_whole_stages_and_the_next_one_ends_it(
    tmp_path_factory: pytest.TempPathFactory, made: Made, survived: int
) -> None:
    world = build(tmp_path_factory.mktemp("store"), made)
    keep, sent = needed(world), 0

    def until_killed(request):  # type: ignore[no-untyped-def]
        def counted(*arguments):  # type: ignore[no-untyped-def]
            nonlocal sent
            sent += 1
            if sent > survived:
                raise KilledError
            return request(*arguments)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("delete", "create"):
            patch.setattr(DirectoryStore, name, until_killed(getattr(DirectoryStore, name)))
        with contextlib.suppress(KilledError):
            list(carry_out(str(world.root), world.judge()))
    world.check()
    assert keep & set(world.uris) <= remaining(world)
    later = datetime.now(UTC) + timedelta(hours=1)
    list(carry_out(str(world.root), world.judge(now=later)))
    world.check()
    assert remaining(world) == keep & set(world.uris)
    assert not list(world.root.rglob(REMOVAL))


def parts(judged: Plan) -> dict[str, tuple[str, bool, str]]:
    return {part.folder.place: (part.what, part.goes, part.reason) for part in judged.parts}


def test_a_run_that_begins_to_use_an_old_stage_keeps_it_with_all_it_was_made_from(tmp_path: Path) -> None:
    """gc has judged three stages in a row to be garbage; before it removes them a run finds the one in the middle."""
    world = World(tmp_path)
    oldest = make(tmp_path, "seed_data", 0, [], 90)
    middle = make(tmp_path, "sft", 1, [oldest], 90)
    newest = make(tmp_path, "dpo", 2, [middle], 90)
    judged = world.judge()
    assert len(judged.goes()) == 3
    _publish_long_ago(middle)
    assert parent(middle).digest
    removed = {part.folder.place: bool(part.objects) for part in carry_out(str(tmp_path), judged)}
    assert removed == {one.removeprefix(f"{tmp_path}/"): one == newest for one in (newest, middle, oldest)}
    assert [one.uri for one in lineage(middle) if one.stage] == [middle, oldest]
    assert not [one for one in lineage(middle) if one.problem]


def _publish_long_ago(uri: str) -> None:
    old = read_manifest(uri).model_copy(update={"created": "2026-01-01T00:00:00.000+00:00"})
    open_store(uri).write(MANIFEST, old.model_dump_json().encode())
    age(uri, timedelta(days=90))


def test_unfinished_work_and_leftovers_go_by_age(tmp_path: Path) -> None:
    """A training may say nothing for days: what is not finished stays two weeks, however short --older-than is."""
    for number, days in enumerate((3, 20)):
        trained = Stage(str(tmp_path), "dpo", Settings(), {"pairs": Parent(uri="pairs", digest=str(number))})
        trained.store.write("progress/checkpoints/0a/checkpoint-7/optimizer.pt", b"x" * 100)
        age(trained.uri, timedelta(days=days))
        sampled = Stage(str(tmp_path), "sampling", Settings(), {"pairs": Parent(uri="pairs", digest=str(number))})
        sampled.save_progress("candidates", [Prompt(id="1", text="one")])
        age(sampled.uri, timedelta(days=days))
    found = World(tmp_path).judge(older_than=timedelta(days=1)).parts
    assert sorted((part.what, part.goes) for part in found) == [
        ("checkpoints", False), ("checkpoints", True), ("unfinished work", False), ("unfinished work", True),
    ]  # fmt: skip
    for part in carry_out(str(tmp_path), World(tmp_path).judge(older_than=timedelta(days=1))):
        assert part.objects
    assert len({path.parent for path in tmp_path.rglob(USED)}) == 2


def test_leftovers_of_a_stage_that_stays(tmp_path: Path) -> None:
    """Progress that a killed run did not remove, and the other content of one that came second."""
    uri = make(tmp_path, "pairs", 1, [], 90)
    store = open_store(uri)
    own = set(store.names())
    store.write("records-0123456789ab.jsonl", b"{}\n")
    store.write("progress/records/1.jsonl", b"{}\n")
    (Path(uri) / ".draft-0123").write_text("half")
    age(uri, timedelta(days=90))
    world = World(tmp_path, [uri], [version(make(tmp_path, "sft", 2, [uri], 90))])
    [left] = world.judge().goes()
    assert (left.what, {one.name for one in left.objects}) == (
        "leftovers",
        {".draft-0123", "records-0123456789ab.jsonl", "progress/records/1.jsonl"},
    )
    list(carry_out(str(tmp_path), world.judge()))
    assert set(store.names()) == own
    world.check()


def test_of_a_manifest_that_this_version_cannot_read_nothing_is_a_leftover(tmp_path: Path) -> None:
    """It may name its files otherwise; what it was made from is needed all the same."""
    seeds = make(tmp_path, "seed_data", 1, [], 90)
    model = make(tmp_path, "sft", 2, [seeds], 90)
    registered = version(model)
    newer = json.loads(open_store(model).read(MANIFEST) or b"") | {"form": 9}
    open_store(model).write(MANIFEST, json.dumps(newer).encode())
    age(model, timedelta(days=90))
    judged = plan(str(tmp_path), lambda: [registered], Rules(MONTH))
    assert not judged.goes() and {part.folder.place.split("/")[0] for part in judged.parts} == {"seed_data", "sft"}


def test_what_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    """Data of the user, stages of another version of this code and what those were made from."""
    seeds = make(tmp_path, "seed_data", 1, [], 90)
    made = json.loads(open_store(seeds).read(MANIFEST) or b"") | {"parents": {"x": {"uri": seeds, "digest": "d"}}}
    open_store(str(tmp_path)).write(f"distilling/{'0' * 16}/{MANIFEST}", json.dumps(made).encode())
    open_store(str(tmp_path)).write("data/messages.jsonl", b"{}")
    open_store(str(tmp_path)).write("sft/notes.txt", b"mine")
    age(tmp_path, timedelta(days=400))
    judged = World(tmp_path).judge(runs=True)
    assert not judged.goes() and judged.others == 2


@pytest.fixture
def two_runs(tmp_path: Path) -> World:
    """Two old runs with a model each; the registry knows the first one's."""
    world = World(tmp_path)
    world.uris = [
        make(tmp_path, "sft", number, [make(tmp_path, "seed_data", 9 + number, [], 90)], 90) for number in (1, 2)
    ]
    first, second = (version(uri, run=f"run-{number}") for number, uri in enumerate(world.uris, 1))
    note(tmp_path, "run-1", world.uris[:1], 90, True, m1=first)
    note(tmp_path, "run-2", world.uris[1:], 90, True, m1=second)
    world.versions, world.models = [first], world.uris[:1]
    return world


def test_a_registry_that_knows_none_of_a_run_s_models_may_be_another_one(two_runs: World) -> None:
    """The wrong --tracking-uri must not empty the store. A run whose models were deleted there is named."""
    kept = parts(two_runs.judge())
    assert not two_runs.judge().goes()
    assert "--forget run-2 if they were deleted there" in kept[_place(two_runs, 1)][2]
    two_runs.versions = []
    assert not two_runs.judge().goes()
    two_runs.versions = [version(two_runs.uris[0], run="run-1")]
    forgotten = two_runs.judge(forgotten=["run-2"])
    assert forgotten.goes()[0].folder.place == _place(two_runs, 1)
    assert len(forgotten.goes()) == 2
    list(carry_out(str(two_runs.root), forgotten))
    two_runs.check()
    assert remaining(two_runs) == {two_runs.uris[0]}


def _place(world: World, number: int) -> str:
    return world.uris[number].removeprefix(f"{world.root}/")


def test_of_a_run_with_models_in_the_registry_a_deleted_version_goes(two_runs: World) -> None:
    root, (first, second) = two_runs.root, two_runs.uris
    note(root, "run-1", [first, second], 90, True, m1=version(first), m2=version(second))
    note(root, "run-2", [second], 90, True, m1=None)
    assert {part.folder.place for part in two_runs.judge().goes()} > {_place(two_runs, 1)}


def test_records_of_runs_stay_unless_asked_for(two_runs: World) -> None:
    """And those of a run that a version names stay even then: `srlm eval` reads its recipe."""
    assert not [part for part in two_runs.judge(forgotten=["run-2"]).goes() if part.what == "records of runs"]
    judged = two_runs.judge(forgotten=["run-2"], runs=True)
    assert [part.folder.place for part in judged.goes() if part.what == "records of runs"] == ["runs/run-2"]
    list(carry_out(str(two_runs.root), judged))
    assert [path.name for path in (two_runs.root / "runs").iterdir() if list(path.rglob("*.json"))] == ["run-1"]


@pytest.mark.parametrize(
    ("days", "ended", "goes"), [(5, True, True), (5, False, False), (15, False, True), (0.5, True, False)]
)
def test_a_run_that_has_not_ended_counts_as_at_work_for_two_weeks(
    tmp_path: Path, days: float, ended: bool, goes: bool
) -> None:
    uri = make(tmp_path, "pairs", 1, [], 90)
    note(tmp_path, "run-1", [uri], days, ended)
    assert bool(World(tmp_path).judge(older_than=timedelta(days=1)).goes()) == goes


def test_stages_are_known_by_their_place_in_whichever_text() -> None:
    text = '{"a": "s3://b/c/sft/0123456789abcdef", "b": ["folder:///x/dpo/fedcba9876543210/files-1"], "c": "sft/0123"}'
    assert named(text) == {"sft/0123456789abcdef", "dpo/fedcba9876543210"}
    assert named("/s/sft/0123456789abcdef0 xsft/0123456789abcdef pairs/0123456789abcdef") == {
        "xsft/0123456789abcdef", "pairs/0123456789abcdef",
    }  # fmt: skip
