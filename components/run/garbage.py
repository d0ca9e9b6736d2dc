"""What `srlm gc` takes from a store: stages, unfinished work and leftovers that nobody needs any more.

Needed is what a registered version refers to, what a run that is recent or may still be at work has noted, and what
was written to or used of late; and of each of these everything that it was made from. Whatever names a stage keeps it,
in whichever form: manifests, journals and tags are searched for `<stage>/<key>`, so that a store that was moved, or
manifests of another version of this code, lose nothing.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from components.core.claims import REMOVAL, USED, is_stale, remove
from components.core.progress import Progress
from components.core.records import Manifest
from components.core.stage import MANIFEST, VERSIONS
from components.core.store import Store, StoredObject, join, open_store
from components.registry.versions import Version

STAGE = re.compile(r"(?<![^/\"' ])([a-z0-9_]+/[0-9a-f]{16})(?![0-9a-f])")
REMOVED = re.compile(rf"[^/]+/[^/]+/{REMOVAL}")
# What is not finished may be at work without a word in the store for long (a training between two checkpoints).
UNFINISHED = timedelta(days=14)
SUMMARY = "summary.json"
UNNEEDED = "no version, alias or recent run needs it"


@dataclass(frozen=True)
class Folder:
    """A stage's or a run's folder, without the announcement of a removal."""

    place: str
    objects: tuple[StoredObject, ...]

    @property
    def modified(self) -> datetime:
        return max(one.modified for one in self.objects)

    def has(self, name: str) -> bool:
        return any(one.name == name for one in self.objects)


@dataclass(frozen=True)
class Part:
    """Objects of a folder that go or stay together, and why. `what` is their kind, e.g. "models"."""

    folder: Folder
    what: str
    objects: tuple[StoredObject, ...]
    goes: bool
    reason: str

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.objects)


@dataclass(frozen=True)
class Rules:
    """Who may lose what: nothing younger than `older_than` goes, and with `runs` the records of old runs go, too.

    `forgotten` names runs that keep nothing, though none of their models is in the registry that was asked.
    """

    older_than: timedelta
    forgotten: Collection[str] = ()
    runs: bool = False
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def is_old(self, folder: Folder, finished: bool) -> bool:
        limit = self.older_than if finished else max(self.older_than, UNFINISHED)
        return self.now - folder.modified > limit


@dataclass
class Plan:
    """Each part of the store, in the order in which it goes; `parents` are the stages that a stage was made from.

    `killed` are the places where a removal was killed; `others` counts objects that are neither a stage's nor a run's.
    """

    parents: dict[str, set[str]]
    killed: list[str]
    others: int
    parts: list[Part] = field(default_factory=list)

    def goes(self) -> list[Part]:
        return [part for part in self.parts if part.goes]


def plan(root: str, versions: Callable[[], Sequence[Version]], rules: Rules) -> Plan:
    """Judge everything in the store. `versions` asks the registry, after the store was listed: what has been registered
    in between was made or marked in between, or is found here."""
    store = open_store(root)
    stages, runs, others = _folders(store)
    registered = versions()
    texts = {}
    with Progress("reading manifests", len(stages)) as progress:
        for place, folder in stages.items():
            texts[place] = _read(store, f"{place}/{MANIFEST}") if folder.has(MANIFEST) else ""
            progress.advance()
    parents = {place: (named(texts[place]) & stages.keys()) - {place} for place in stages}
    killed = [one.name for one in others if REMOVED.fullmatch(one.name) and is_stale(one, rules.now)]
    judged = Plan(parents, [name.removesuffix(f"/{REMOVAL}") for name in killed], len(others) - len(killed))
    notes = {place: _reason_of_run(store, folder, registered, rules) for place, folder in runs.items()}
    reasons = _needed(judged.parents, _roots(store, stages, runs, notes, registered, rules))
    for place in _children_first(judged.parents):
        judged.parts += _judge_stage(stages[place], texts[place], reasons.get(place, ""), rules)
    judged.parts += [_judge_run(folder, notes[place], registered, rules) for place, folder in runs.items()]
    return judged


def carry_out(root: str, judged: Plan) -> Iterator[Part]:
    """Remove what goes, what was made before what it was made from, and yield each part with what was removed of it.

    A stage that somebody has begun to use since stays, with all that it was made from: it is yielded without objects.
    """
    for place in judged.killed:
        open_store(join(root, place)).delete(REMOVAL)
    kept: set[str] = set()
    for part in judged.goes():
        place, removed = part.folder.place, []
        if place not in kept:
            removed = remove(open_store(join(root, place)), part.folder.objects, part.objects)
        if not removed:
            kept |= _needed(judged.parents, {place: ""}).keys()
        yield replace(part, objects=tuple(removed))


def named(text: str) -> set[str]:
    """The stages, as "<stage>/<key>", that a text names."""
    return set(STAGE.findall(text))


def _folders(store: Store) -> tuple[dict[str, Folder], dict[str, Folder], list[StoredObject]]:
    """The folders of stages and of runs by their places, and what belongs to neither: announcements are among that."""
    stages: dict[str, list[StoredObject]] = defaultdict(list)
    runs: dict[str, list[StoredObject]] = defaultdict(list)
    others = []
    for one in store.objects():
        first, second, rest = [*one.name.split("/", 2), "", ""][:3]
        place = f"{first}/{second}"
        if rest in ("", REMOVAL) or not (first == "runs" or STAGE.fullmatch(place)):
            others.append(one)
            continue
        (runs if first == "runs" else stages)[place].append(replace(one, name=rest))
    folders = [{place: Folder(place, tuple(some)) for place, some in found.items()} for found in (stages, runs)]
    return folders[0], folders[1], others


def _read(store: Store, name: str) -> str:
    return (store.read(name) or b"").decode(errors="replace")


def _reason_of_run(store: Store, folder: Folder, registered: Sequence[Version], rules: Rules) -> str:
    """Why all that a run has noted is needed; "" where it is not."""
    run = folder.place.removeprefix("runs/")
    if run in rules.forgotten:
        return ""
    ended = max(folder.objects, key=lambda one: (one.modified, one.name == SUMMARY)).name == SUMMARY
    if not rules.is_old(folder, ended):
        return f"a run of the last {rules.older_than.days} days" if ended else "a run that may still be at work"
    models = [json.loads(_read(store, f"{folder.place}/{one.name}") or "{}") for one in _notes_of_models(folder)]
    noted = {(model.get("registered_name"), model.get("digest")) for model in models if model.get("version")}
    if noted and not noted & {(version.name, version.digest) for version in registered}:
        return f"run {run}: this registry has none of its models; --forget {run} if they were deleted there"
    return ""


def _notes_of_models(folder: Folder) -> list[StoredObject]:
    return [one for one in folder.objects if one.name.startswith("models/")]


def _roots(
    store: Store,
    stages: Mapping[str, Folder],
    runs: Mapping[str, Folder],
    notes: Mapping[str, str],
    registered: Sequence[Version],
    rules: Rules,
) -> dict[str, str]:
    """The stages that are needed themselves, with the reason; the strongest reason comes first."""
    found: dict[str, str] = {}
    for version in registered:
        for place in named(" ".join(version.texts)):
            found.setdefault(place, "registered versions, and what they were made from")
    for place, reason in notes.items():
        texts = (_read(store, f"{place}/{one.name}") for one in runs[place].objects) if reason else ()
        for stage in named(" ".join(texts)):
            found.setdefault(stage, reason)
    for place, folder in stages.items():
        if place.split("/")[0] not in VERSIONS:
            found.setdefault(place, "of another version of this pipeline")
        elif not rules.is_old(folder, folder.has(MANIFEST)):
            found.setdefault(place, "made or used of late, and what that was made from")
    return {place: reason for place, reason in found.items() if place in stages}


def _needed(parents: Mapping[str, Iterable[str]], roots: Mapping[str, str]) -> dict[str, str]:
    """The roots and everything that they were made from, each with the reason of the root that is found first."""
    found: dict[str, str] = {}
    for root, reason in roots.items():
        waiting = [root]
        while waiting:
            place = waiting.pop()
            if place not in found:
                found[place] = reason
                waiting += parents.get(place, ())
    return found


def _children_first(parents: Mapping[str, Collection[str]]) -> list[str]:
    """All stages, each before those that it was made from."""
    order: list[str] = []
    seen: set[str] = set()
    for start in sorted(parents):
        waiting = [(start, False)]
        while waiting:
            place, done = waiting.pop()
            if done:
                order.append(place)
            elif place not in seen:
                seen.add(place)
                waiting += [(place, True), *((one, False) for one in parents[place])]
    return order[::-1]


def _judge_stage(folder: Folder, manifest: str, reason: str, rules: Rules) -> list[Part]:
    """One part; two where a stage that stays has leftovers: progress, and what other attempts wrote."""
    if not manifest:
        trained = any(one.name.startswith("progress/checkpoints/") for one in folder.objects)
        what = "checkpoints" if trained else "unfinished work"
        why = reason or f"nobody has worked on it for {max(rules.older_than, UNFINISHED).days} days"
        return [Part(folder, what, folder.objects, not reason, why)]
    what = "models" if any(one.name.startswith("files-") for one in folder.objects) else "other stages"
    if not reason:
        manifest_first = sorted(folder.objects, key=lambda one: one.name != MANIFEST)
        return [Part(folder, what, tuple(manifest_first), True, UNNEEDED)]
    published = _published(manifest)
    left = tuple(one for one in folder.objects if published and one.name not in published)
    own = tuple(one for one in folder.objects if one not in left)
    parts = [Part(folder, what, own, False, reason)]
    if left and rules.is_old(Folder(folder.place, left), finished=False):
        parts.append(Part(folder, "leftovers", left, True, "of attempts that did not make the stage"))
    elif left:
        parts.append(Part(folder, "leftovers", left, False, "of attempts that may still be at work"))
    return parts


def _published(manifest: str) -> set[str]:
    """Names of all that belongs to a finished stage; none where this version cannot read its manifest."""
    try:
        return {MANIFEST, USED, *Manifest.model_validate_json(manifest).files}
    except ValidationError:
        return set()


def _judge_run(folder: Folder, reason: str, registered: Sequence[Version], rules: Rules) -> Part:
    run = folder.place.removeprefix("runs/")
    if not reason and any(version.run == run for version in registered):
        reason = "a registered version names the run"
    if not reason and not rules.is_old(folder, finished=False):
        reason = "a run of late"
    if not reason and not rules.runs:
        reason = "kept unless --with-runs is given"
    return Part(folder, "records of runs", folder.objects, not reason, reason or "no registered version names the run")
