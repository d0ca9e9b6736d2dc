"""A stage's directory: `<root>/<stage>/<key>/`, records or model files, `manifest.json` last.

The key is a hash of what decides the content (stage name and version, settings, digests of the inputs), so finished
work is found by any later run and unfinished work is continued. Records that are already made lie under `progress/`.
Two runs that make the same stage at once write under different names; the first manifest wins and both use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from components.core.claims import claim, is_old
from components.core.errors import UserError, too_new
from components.core.hashing import code_version, content_hash, file_hash
from components.core.ledger import so_far
from components.core.looking import UnmadeStageError, looking
from components.core.progress import Progress, warn
from components.core.record_files import fetch_lines, json_line, store_records
from components.core.record_table import RecordTable
from components.core.records import Counts, File, Manifest, Parent, Record
from components.core.settings import Settings
from components.core.spent import Spent
from components.core.store import join, open_store
from components.core.wrong_values import first_mistake

MANIFEST = "manifest.json"
SUM = 16  # digits of the content's SHA-256 in the name of an object under progress/
# Part of every key. Raise a stage's number when a change of its code changes what it makes.
VERSIONS = {
    "base_model": 5,
    "seed_data": 3,
    "eft": 4,
    "sft": 4,
    "prompts": 4,
    "sampling": 1,
    "rubrics": 1,
    "judging": 4,
    "pairwise_judging": 1,
    "meta_judging": 1,
    "pairs": 2,
    "reference_log_probs": 1,
    "dpo": 6,
    "instructions": 1,
    "questions": 2,
    "evaluation_texts": 1,
    "evaluation": 6,
    "annotation": 5,
    "mt_bench_answers": 1,
    "mt_bench": 3,
    "benchmarks": 2,
    "gate": 3,
    "comparison": 1,
    "training_noise": 1,
    "review": 1,
}
R = TypeVar("R", bound=Record)


class UnfinishedStageError(UserError):
    """What should be a finished stage, at `uri`, is none."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri} holds no finished stage (no {MANIFEST})", "Run the pipeline again: it makes what is missing."
        )
        self.uri = uri


class Stage:
    """One stage directory, finished or in the making."""

    def __init__(self, root: str, name: str, settings: Settings, inputs: Mapping[str, Parent]) -> None:
        self.name, self.version, self.inputs = name, VERSIONS[name], dict(inputs)
        self.settings = settings.identity()
        digests = {role: parent.digest for role, parent in inputs.items()}
        self.key = content_hash([name, self.version, self.settings, digests])[:16]
        self.uri = join(root, name, self.key)
        self.store = open_store(self.uri)
        self.manifest = find_manifest(self.uri)
        if self.manifest is None or is_old(self.manifest.created):
            claim(self.store)
            self.manifest = find_manifest(self.uri)
        if looking():
            if self.manifest is None:
                raise UnmadeStageError(self)
        elif self.manifest:
            self._clear_progress()  # of who was killed between manifest and end, or works beside who was first
        self._start = time.monotonic()
        self._attempt = f"progress/spent/{uuid.uuid4().hex[:8]}.json"

    def load_progress(self, kind: str, record: type[R]) -> RecordTable[R]:
        """Records of an unfinished earlier attempt, by id. What a store gives back otherwise than it was saved is told,
        and made again: no manifest speaks for it yet."""
        records = RecordTable(record)
        for name in self.store.names(f"progress/{kind}/"):
            data = self.store.read(name) or b""
            try:
                told = name.rpartition("-")[2].removesuffix(".jsonl")
                if len(told) == SUM and told != hashlib.sha256(data).hexdigest()[:SUM]:  # older names tell nothing
                    raise ValueError(name)
                loaded = [record.model_validate_json(line) for line in data.splitlines()]
            except ValueError:
                warn(f"{join(self.uri, name)} is damaged or of another version: its {kind} are made again")
                continue
            records.add(loaded)
        return records

    def save_progress(self, kind: str, records: Iterable[Record]) -> None:
        """Make these records safe against a crash, as one object under a unique name."""
        data = b"".join(map(json_line, records))
        if data:  # the sum of its content also keeps two writers of one moment apart
            name = f"{time.time_ns()}-{hashlib.sha256(data).hexdigest()[:SUM]}.jsonl"
            self.store.write(f"progress/{kind}/{name}", data)
            self.note_spent()

    def note_spent(self) -> None:
        """Leave word of what this attempt has taken until now, should it not come to its end."""
        if spent := so_far():
            self.store.write(self._attempt, spent.model_dump_json().encode())

    def _earlier(self) -> Spent | None:
        """What other attempts have noted; None where there were none, or none that noted something."""
        total: Spent | None = None
        for name in self.store.names("progress/spent/"):
            if name != self._attempt and (noted := self.store.read(name)):
                with contextlib.suppress(ValidationError):  # half a note, or a newer version's: less is known, no more
                    attempt = Spent.model_validate_json(noted)
                    total = total.plus(attempt) if total else attempt
        return total

    def publish(
        self,
        counts: Counts,
        records: Mapping[str, Iterable[Record]] | None = None,
        folder: Path | None = None,
        metrics: Mapping[str, float] | None = None,
        tokens: int = 0,
    ) -> Manifest:
        """Write the records and the folder's files, then the manifest; returns that of whoever was first.

        Raises UserError before anything is written where a metric is no finite number.
        """
        require_finite(metrics or {}, self.name)
        claim(self.store)  # it may have been in the making for long
        files = self._upload(folder) if folder else {}
        for kind, lines in (records or {}).items():
            name, file = store_records(self.store, kind, lines)
            files[name] = file
        manifest = Manifest(
            stage=self.name,
            version=self.version,
            key=self.key,
            digest=content_hash({name: file.sha256 for name, file in files.items()}),
            settings=self.settings,
            parents=self.inputs,
            files=files,
            counts=counts,
            metrics=dict(metrics or {}),
            tokens=tokens,
            seconds=round(time.monotonic() - self._start, 3),
            spent=so_far(),
            earlier=self._earlier(),
            code=code_version(),
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        self.store.create(MANIFEST, manifest.model_dump_json(indent=1).encode())
        self.manifest = read_manifest(self.uri)
        self._clear_progress()
        return self.manifest

    def _clear_progress(self) -> None:
        for name in self.store.names("progress/"):
            self.store.delete(name)

    def _upload(self, folder: Path) -> dict[str, File]:
        """Model files go below a folder named by their content, for the same reason."""
        paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        files = {name: File(sha256=file_hash(path), bytes=path.stat().st_size) for name, path in paths.items()}
        prefix = f"files-{content_hash({name: file.sha256 for name, file in files.items()})[:12]}"
        with Progress(f"storing {self.name} (MB)", sum(file.megabytes for file in files.values())) as progress:
            for name, path in paths.items():
                self.store.upload(path, f"{prefix}/{name}")
                progress.advance(files[name].megabytes)
        return {f"{prefix}/{name}": file for name, file in files.items()}


def find_manifest(uri: str) -> Manifest | None:
    """The manifest of a finished stage, None where the stage is not finished."""
    data = open_store(uri).read(MANIFEST)
    try:
        return Manifest.model_validate_json(data) if data is not None else None
    except ValidationError as error:
        raise _invalid(join(uri, MANIFEST), "manifest", error) from error


def _invalid(where: str, what: str, error: ValidationError) -> UserError:
    """The error for what is whole and still not of this version's form."""
    if all(one["type"] == "extra_forbidden" for one in error.errors()):
        return too_new(where, ".".join(map(str, error.errors()[0]["loc"])))
    return UserError(
        f"{where} is no valid {what}: {first_mistake(error)}",
        "Delete that stage's folder and run again: it is made anew.",
    )


def require_finite(metrics: Mapping[str, float], stage: str) -> None:
    """Raises UserError that names the metrics which are nan or infinite: nobody can compare or bet on such a number."""
    wrong = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if wrong:
        named = ", ".join(f"{name} is {value}" for name, value in wrong.items())
        raise UserError(
            f"{stage} measured no number: {named}; nothing was published",
            "Look at what it was measured on: records of the stage's inputs, and the curve where it trained.",
        )


def read_manifest(uri: str) -> Manifest:
    """The manifest of a stage that must be finished; raises UnfinishedStageError where it is not."""
    manifest = find_manifest(uri)
    if manifest is None:
        raise UnfinishedStageError(uri)
    return manifest


def parent(uri: str) -> Parent:
    """A finished stage as the input of another."""
    manifest = read_manifest(uri)
    if is_old(manifest.created):
        with contextlib.suppress(UserError):  # somebody else's store, which can only be read
            claim(open_store(uri))
        manifest = read_manifest(uri)
    return Parent(uri=uri, digest=manifest.digest)


def read_records(uri: str, kind: str, record: type[R]) -> list[R]:
    """The records of one kind of a finished stage, in the order in which they were published."""
    return list(each_record(uri, kind, record))


def each_record(uri: str, kind: str, record: type[R]) -> Iterator[R]:
    """The same one by one, for who keeps little of each: a million take no memory."""
    store, manifest = open_store(uri), read_manifest(uri)
    for name, file in manifest.files.items():
        if name.startswith(f"{kind}-") and file.records is not None:
            lines = fetch_lines(store, name, file)
            if lines is None:
                raise damaged(join(uri, name))
            try:
                with lines:
                    yield from map(record.model_validate_json, lines)
            except ValidationError as error:  # it is what was published, so it was published by another version
                raise _invalid(join(uri, name), kind, error) from error


def damaged(uri: str) -> UserError:
    """The error for an object of a finished stage whose content is not the published one."""
    return UserError(
        f"{uri} does not have the content that its manifest promises", "Delete that stage's folder and run again."
    )
