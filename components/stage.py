"""A stage's directory: `<root>/<stage>/<key>/`, records or model files, `manifest.json` last.

The key is a hash of what decides the content (stage name and version, settings, digests of the inputs), so finished
work is found by any later run and unfinished work is continued. Records that are already made lie under `progress/`.
Two runs that make the same stage at once write under different names; the first manifest wins and both use it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from components.errors import UserError
from components.identity import content_hash
from components.progress import Progress
from components.records import Counts, File, Manifest, Parent, Record
from components.settings import Settings
from components.store import DirectoryStore, Store, home, join, open_store

MANIFEST = "manifest.json"
# Part of every key. Raise a stage's number when a change of its code changes what it makes.
VERSIONS = {
    "base_model": 1,
    "seed_data": 2,
    "eft": 1,
    "sft": 1,
    "prompts": 2,
    "sampling": 1,
    "judging": 2,
    "pairs": 1,
    "dpo": 2,
    "instructions": 1,
    "questions": 1,
    "evaluation": 2,
    "annotation": 1,
    "mt_bench_answers": 1,
    "mt_bench": 1,
    "benchmarks": 1,
    "gate": 1,
    "comparison": 1,
}
R = TypeVar("R", bound=Record)


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
        self._start = time.monotonic()

    def kept(self, kind: str, record: type[R]) -> dict[str, R]:
        """Records of an unfinished earlier attempt, by id."""
        records: dict[str, R] = {}
        for name in self.store.names(f"progress/{kind}/"):
            for line in (self.store.read(name) or b"").splitlines():
                found = record.model_validate_json(line)
                records.setdefault(found.id, found)
        return records

    def keep(self, kind: str, records: Iterable[Record]) -> None:
        """Make these records safe against a crash, as one object under a unique name."""
        data = _json_lines(records)
        if data:
            self.store.write(f"progress/{kind}/{time.time_ns()}-{uuid.uuid4().hex[:8]}.jsonl", data)

    def publish(
        self,
        counts: Counts,
        records: Mapping[str, Sequence[Record]] | None = None,
        folder: Path | None = None,
        metrics: Mapping[str, float] | None = None,
        tokens: int = 0,
    ) -> Manifest:
        """Write the records and the folder's files, then the manifest; returns that of whoever was first."""
        files = self._upload(folder) if folder else {}
        for kind, lines in (records or {}).items():
            files |= self._write(kind, lines)
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
            code=code_version(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.store.create(MANIFEST, manifest.model_dump_json(indent=1).encode())
        self.manifest = read_manifest(self.uri)
        self.manifest.mark_as_made_now()
        for name in self.store.names("progress/"):
            self.store.delete(name)
        return self.manifest

    def _write(self, kind: str, records: Sequence[Record]) -> dict[str, File]:
        data = _json_lines(records)
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"{kind}-{sha256[:12]}.jsonl"  # named by content: another run's version of it cannot be overwritten
        self.store.write(name, data)
        return {name: File(sha256=sha256, bytes=len(data), records=len(records))}

    def _upload(self, folder: Path) -> dict[str, File]:
        """Model files go below a folder named by their content, for the same reason."""
        paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        found = {name: File(sha256=file_hash(path), bytes=path.stat().st_size) for name, path in paths.items()}
        place = f"files-{content_hash({name: file.sha256 for name, file in found.items()})[:12]}"
        with Progress(f"storing {self.name} (MB)", _megabytes(found.values())) as progress:
            for name, path in paths.items():
                self.store.upload(path, f"{place}/{name}")
                progress.advance(_megabytes([found[name]]))
        return {f"{place}/{name}": file for name, file in found.items()}


def find_manifest(uri: str) -> Manifest | None:
    """The manifest of a finished stage, None where the stage is not finished."""
    data = open_store(uri).read(MANIFEST)
    return Manifest.model_validate_json(data) if data is not None else None


def read_manifest(uri: str) -> Manifest:
    """The manifest of a stage that must be finished."""
    manifest = find_manifest(uri)
    if manifest is None:
        raise UserError(
            f"{uri} holds no finished stage (no {MANIFEST})", "Run the pipeline again: it makes what is missing."
        )
    return manifest


def parent(uri: str) -> Parent:
    """A finished stage as the input of another."""
    return Parent(uri=uri, digest=read_manifest(uri).digest)


def read_records(uri: str, kind: str, record: type[R]) -> list[R]:
    """The records of one kind of a finished stage, in the order in which they were published."""
    store, manifest = open_store(uri), read_manifest(uri)
    lines: list[R] = []
    for name, file in manifest.files.items():
        if name.startswith(f"{kind}-") and file.records is not None:
            data = store.read(name) or b""
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise _damaged(join(uri, name))
            lines += [record.model_validate_json(line) for line in data.splitlines()]
    return lines


def model_folder(uri: str) -> Path:
    """The files of a finished model stage as a local folder: the store's own where it is one, else a checked copy."""
    manifest, place, store = read_manifest(uri), model_place(uri), open_store(uri)
    if isinstance(store, DirectoryStore):
        return store.root / place
    files = {name.removeprefix(f"{place}/"): file for name, file in manifest.files.items() if name.startswith(place)}
    return _cached_copy(uri, place, files)


def model_place(uri: str) -> str:
    """The name of the model's folder inside its stage, which says its content; raises UserError without a model."""
    place = next((name.split("/")[0] for name in read_manifest(uri).files if name.startswith("files-")), None)
    if place is None:
        raise UserError(f"{uri} holds no model files", "Name a stage that made a model: base_model, sft or dpo.")
    return place


def cached_model(uri: str, scratch: Path) -> Path:
    """Where `model_folder` leaves a model of an S3 store on a machine whose SRLM_HOME is `scratch`."""
    return scratch / "cache" / "models" / model_place(uri)


def check_files(uri: str) -> None:
    """Read every file of a finished stage; raises UserError when one does not have the content that was published."""
    manifest, store = read_manifest(uri), open_store(uri)
    if content_hash({name: file.sha256 for name, file in manifest.files.items()}) != manifest.digest:
        raise _damaged(join(uri, MANIFEST))
    with Progress("checking files (MB)", _megabytes(manifest.files.values())) as progress:
        for name, file in manifest.files.items():
            with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
                copy = store.root / name if isinstance(store, DirectoryStore) else Path(folder) / "file"
                if not isinstance(store, DirectoryStore):
                    _download(store, uri, name, copy)
                if not copy.exists() or file_hash(copy) != file.sha256:
                    raise _damaged(join(uri, name))
            progress.advance(_megabytes([file]))


def _download(store: Store, uri: str, name: str, path: Path) -> None:
    try:
        store.download(name, path)
    except FileNotFoundError as error:
        raise _damaged(join(uri, name)) from error


def _scratch() -> Path:
    folder = home() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def adopt_folder(uri: str, folder: Path) -> None:
    """Move the files that were just published from `folder` to where `model_folder` looks, to save the download."""
    if isinstance(open_store(uri), DirectoryStore):
        return
    target = cached_model(uri, home())
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, target)


def _cached_copy(uri: str, place: str, files: dict[str, File]) -> Path:
    target = cached_model(uri, home())
    if target.exists():
        return target
    draft = target.with_name(f".draft-{uuid.uuid4().hex}")
    store = open_store(join(uri, place))
    with Progress("fetching model (MB)", _megabytes(files.values())) as progress:
        for name, file in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(name, path)
            if file_hash(path) != file.sha256:
                raise _damaged(join(uri, place, name))
            progress.advance(_megabytes([file]))
    try:
        draft.rename(target)
    except OSError:  # another process was first with the same content
        shutil.rmtree(draft)
    return target


def _damaged(where: str) -> UserError:
    return UserError(
        f"{where} does not have the content that its manifest promises", "Delete that stage's folder and run again."
    )


def _megabytes(files: Iterable[File]) -> int:
    return sum(max(1, file.bytes // 1_000_000) for file in files)


def _json_lines(records: Iterable[Record]) -> bytes:
    return b"".join(
        json.dumps(r.model_dump(mode="json"), ensure_ascii=False, sort_keys=True).encode() + b"\n" for r in records
    )


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def code_version() -> str:
    """The installed version of this package, for the manifest (identity uses the stages' own versions)."""
    try:
        return version("self-rewarding-pipelines")
    except PackageNotFoundError:
        return "unknown"
