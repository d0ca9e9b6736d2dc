"""Where artifacts live: `s3://` and plain directories behind one small interface.

A store is bound to one URI; names are relative to it. A name appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from components.core.errors import UserError
from components.core.ledger import moves
from components.core.local_files import cannot_write
from components.core.progress import warn
from components.core.proxies import ask_directly
from components.core.s3_refusals import AGAIN, CHECKSUMS, REQUIRED, endpoint, refusal

PART_BYTES = 32 << 20  # of a large file on its way: boto3's 8 MiB take a fifth longer on one machine
# One thread writes what comes: in boto3's pieces of 256 KiB a download took a fifth longer (docs/performance.md).
# So many of them wait at most for a disk that is slow.
PIECE_BYTES, PIECES = 4 << 20, 16
CREATES = 8  # tries of a conditional put that meets others
READS = 4  # tries of an object whose content breaks off on its way
# Tries of a request to S3 while it is away, where AWS_MAX_ATTEMPTS says no number, with pauses of up to 20 s: in a pod
# some four minutes, elsewhere seconds, as a person waits (issue 14).
TRIES, TRIES_IN_A_POD = 5, 25
_storing, _fetching = moves("storing", "bytes_up"), moves("fetching", "bytes_down")
TOLD_AT = (4, 10, 16, 22)  # tries at which a pod's log says that it waits


@dataclass(frozen=True, order=True)
class StoredObject:
    """An object's name in its store, its size, and when it was written last by the store's clock."""

    name: str
    bytes: int
    modified: datetime


class Store(Protocol):
    """Objects under one URI."""

    uri: str

    def read(self, name: str) -> bytes | None:
        """The object's bytes, None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Put the object, replacing what was there."""

    def create(self, name: str, data: bytes) -> bool:
        """Put the object if there is none yet; of several writers exactly one gets True."""

    def names(self, prefix: str = "") -> list[str]:
        """Sorted names of the objects that start with `prefix`."""

    def objects(self) -> list[StoredObject]:
        """All that takes space, sorted by name: also what a writer that was killed has left unfinished."""

    def delete(self, name: str) -> None:
        """Remove the object; none there is fine."""

    def upload(self, path: Path, name: str) -> None:
        """Put a file of any size."""

    def download(self, name: str, path: Path) -> None:
        """Fetch an object of any size into a file."""


def open_store(uri: str) -> Store:
    """The store at `s3://bucket/prefix`, `file:///folder` or a folder's path."""
    if uri.startswith("s3://"):
        return S3Store(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise UserError(f"{uri!r} is not a store", "Use s3://bucket/prefix or the path of a folder.")
    return DirectoryStore(uri)


def join(uri: str, *names: str) -> str:
    """The URI of something below `uri`."""
    return "/".join([uri.rstrip("/"), *names])


def home() -> Path:
    """This machine's scratch folder: model cache and local servers (SRLM_HOME, else the temporary folder)."""
    return Path(os.environ.get("SRLM_HOME") or Path(tempfile.gettempdir()) / "srlm")


class DirectoryStore:
    """Objects as files; a write lands under a unique name first and is renamed."""

    def __init__(self, uri: str) -> None:
        self.root = Path(uri.removeprefix("file://")).absolute()
        self.uri = str(self.root)

    @_fetching
    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    @_storing
    def write(self, name: str, data: bytes) -> None:
        with self._renamed_when_written(name) as (draft, final):
            draft.write_bytes(data)
            draft.replace(final)

    @_storing
    def create(self, name: str, data: bytes) -> bool:
        with self._renamed_when_written(name) as (draft, final):
            draft.write_bytes(data)
            try:
                os.link(draft, final)  # atomic, and refuses an existing name
            except FileExistsError:
                return False
            return True

    def names(self, prefix: str = "") -> list[str]:
        folder = (self.root / prefix).parent if prefix and not prefix.endswith("/") else self.root / prefix
        names = (str(path.relative_to(self.root)) for path in folder.rglob("*") if path.is_file())
        return sorted(name for name in names if name.startswith(prefix) and "/.draft-" not in f"/{name}")

    def objects(self) -> list[StoredObject]:
        found = []
        for path in self.root.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # it went just now
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    date = datetime.fromtimestamp(status.st_mtime, UTC)
                    found.append(StoredObject(str(path.relative_to(self.root)), status.st_size, date))
        return sorted(found)

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    @_storing
    def upload(self, path: Path, name: str) -> None:
        with self._renamed_when_written(name) as (draft, final):
            shutil.copyfile(path, draft)
            draft.replace(final)

    @_fetching
    def download(self, name: str, path: Path) -> None:
        shutil.copyfile(self.root / name, path)

    @contextlib.contextmanager
    def _renamed_when_written(self, name: str) -> Iterator[tuple[Path, Path]]:
        """The path to write to and the one to rename it to; raises UserError where the disk does not take it."""
        final = self.root / name
        draft = final.with_name(f".draft-{uuid.uuid4().hex}")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            yield draft, final
        except OSError as error:
            raise cannot_write(str(final), error) from error
        finally:
            draft.unlink(missing_ok=True)


class _ConflictError(Exception):
    """Another conditional put of the same object was under way."""


class S3Store:
    """Objects in a bucket; credentials and endpoint come from the environment as boto3 reads it."""

    def __init__(self, uri: str) -> None:
        import boto3  # noqa: F401  two threads that import it at once may find half of it; slow, so not where nobody asks

        self.bucket, _, self.prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
        if not self.bucket:
            raise UserError(f"{uri!r} names no bucket", "Use s3://bucket/prefix.")
        self.uri = f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @_fetching
    def read(self, name: str) -> bytes | None:
        """boto3 tries a request again, but not what breaks off, stalls or arrives damaged after the first byte."""
        from botocore.exceptions import FlexibleChecksumError, ReadTimeoutError, ResponseStreamingError

        for left in reversed(range(READS)):
            try:
                with self._translated_errors():
                    return _s3().get_object(Bucket=self.bucket, Key=self._key(name))["Body"].read()
            except FileNotFoundError:
                return None
            except UserError as error:
                broken = isinstance(error.__cause__, FlexibleChecksumError | ReadTimeoutError | ResponseStreamingError)
                if not broken or not left:
                    raise
        return None

    @_storing
    def write(self, name: str, data: bytes) -> None:
        with self._translated_errors():
            _s3().put_object(Bucket=self.bucket, Key=self._key(name), Body=data)

    @_storing
    def create(self, name: str, data: bytes) -> bool:
        """Of writers that meet at the same moment S3 may refuse all (409): each looks again who was first."""
        for attempt in range(1, CREATES + 1):
            try:
                with self._translated_errors():
                    _s3().put_object(Bucket=self.bucket, Key=self._key(name), Body=data, IfNoneMatch="*")
                return True
            except FileExistsError:
                return False
            except _ConflictError:
                time.sleep(random.uniform(0, 0.2 * attempt))
                if self.read(name) is not None:
                    return False
        raise UserError(
            f"the store {self.uri} at {endpoint()} refuses to create {name}: another write is under way",
            f"Look who else writes there; {AGAIN}",
        )

    def names(self, prefix: str = "") -> list[str]:
        return sorted(item["Key"] for item in self._listed(prefix))

    def objects(self) -> list[StoredObject]:
        items = self._listed()
        return sorted(StoredObject(item["Key"], item["Size"], item["LastModified"]) for item in items)

    def _listed(self, prefix: str = "") -> list[dict[str, Any]]:
        """S3's answers, with the names that the objects have here."""
        root = f"{self.prefix}/" if self.prefix else ""
        with self._translated_errors():
            pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=root + prefix)
            return [{**item, "Key": item["Key"][len(root) :]} for page in pages for item in page.get("Contents", [])]

    def etags(self) -> dict[str, str]:
        """The entity tag of each object directly below the URI: it changes with the content."""
        prefix = f"{self.prefix}/" if self.prefix else ""
        with self._translated_errors():
            pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/")
            return {item["Key"][len(prefix) :]: item["ETag"] for page in pages for item in page.get("Contents", [])}

    def delete(self, name: str) -> None:
        with self._translated_errors():
            _s3().delete_object(Bucket=self.bucket, Key=self._key(name))

    @_storing
    def upload(self, path: Path, name: str) -> None:
        with self._translated_errors():
            _s3().upload_file(str(path), self.bucket, self._key(name), Config=_in_parts())

    @_fetching
    def download(self, name: str, path: Path) -> None:
        with self._translated_errors():
            _s3().download_file(self.bucket, self._key(name), str(path), Config=_in_parts())

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turn boto's errors into FileNotFoundError, FileExistsError or a message for the user."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if code in ("NoSuchKey", "404", "NotFound"):
                raise FileNotFoundError(self.uri) from error
            if code in ("PreconditionFailed", "412") or status == 412:
                raise FileExistsError(self.uri) from error
            if error.operation_name == "PutObject" and status == 409:
                raise _ConflictError(self.uri) from error
            raise refusal(self.uri, error) from error
        except (BotoCoreError, S3UploadFailedError, ResponseParserError) as error:
            raise refusal(self.uri, error) from error


@contextlib.contextmanager
def store_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Stores as if these variables stood in the environment, for as long as the context lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _s3.cache_clear()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        _s3.cache_clear()


def _in_parts() -> Any:
    """How large files come and go: parts beside one another."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        io_chunksize=PIECE_BYTES,
        max_io_queue=PIECES,
    )


@cache
def _s3() -> Any:
    """One client a process: parallel multipart and checksums are boto3's defaults, and so is all that it finds by
    itself: region, credentials, endpoint and CA bundle of the environment, of a profile, of a role."""
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    ask_directly(os.environ.get("AWS_ENDPOINT_URL_S3", ""), os.environ.get("AWS_ENDPOINT_URL", ""))
    # pods get one variable for both directions (None: as boto3 finds it)
    unchecked = os.environ.get(CHECKSUMS) == REQUIRED and "AWS_RESPONSE_CHECKSUM_VALIDATION" not in os.environ
    said = os.environ.get("AWS_MAX_ATTEMPTS", "")
    usual = TRIES_IN_A_POD if "KUBERNETES_SERVICE_HOST" in os.environ else TRIES
    tries = int(said) if said.isdecimal() and int(said) else usual
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": tries},
        response_checksum_validation=REQUIRED if unchecked else None,
    )
    try:
        session = Session()
        # AWS_REGION is every other SDK's name for it; where nobody says one, S3 itself says where a bucket is
        region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
        client = session.client("s3", config=config, region_name=region)
        client.meta.events.register("needs-retry.s3", _say_that_it_waits)
        return client
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise refusal("of S3", error) from error


def _say_that_it_waits(
    attempts: int, response: Any = None, caught_exception: Exception | None = None, **_: Any
) -> None:
    """boto's event after each try; it decides by itself, and this only tells."""
    status = response[0].status_code if response else 0
    if attempts in TOLD_AT and (caught_exception or status == 429 or status >= 500):
        said = f"HTTP {status}" if response else str(caught_exception)
        warn(f"the store at {endpoint()} does not answer ({said}); asking again")
