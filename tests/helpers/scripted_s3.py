"""An S3 server in memory that behaves as those that people run: what it refuses, ignores or answers in its own way."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.helpers.http_server import http_server

BUCKET, KEY, REGION = "bucket", "key", "eu-central-1"


@dataclass
class Behaviour:
    """`conflicts` is how many conditional puts meet another one (409) before they are decided. `refuse` is the answer
    to every request: status, code, and what else the error says."""

    conditional: Literal["kept", "not atomic", "ignored", "not implemented"] = "kept"
    checksums: Literal["taken", "refused", "kept in the data"] = "taken"
    conflicts: int = 0
    may_list: bool = True
    read_only: bool = False
    region: str = ""  # "" takes any, as most servers but AWS's do
    tells_region: bool = True
    refuse: tuple[int, str, str] | None = None
    page: str = ""  # a web page to every request: no S3 at all
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    headers: set[str] = field(default_factory=set)  # names that requests had, in small letters
    lock: threading.Lock = field(default_factory=threading.Lock)


def minio_like() -> Behaviour:
    return Behaviour()


def aws_like() -> Behaviour:
    """Its own region only, and writers that meet are told to come again."""
    return Behaviour(region=REGION, conflicts=2)


def ceph_like() -> Behaviour:
    """Before Squid: the newer checksums are refused, conditional puts are kept."""
    return Behaviour(checksums="refused")


def garage_like() -> Behaviour:
    """If-None-Match is ignored on puts: its nodes agree afterwards, by who was last."""
    return Behaviour(conditional="ignored")


class RefusalError(Exception):
    def __init__(self, status: int, code: str, more: str = "") -> None:
        super().__init__(status, code, more)
        self.status, self.code, self.more = status, code, more


def _answer(does: Behaviour, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of one request."""
    url = urlsplit(handler.path)
    query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    does.requests.append(f"{handler.command} {key}")
    does.headers |= {name.lower() for name in handler.headers}
    if does.page:
        return 200, does.page.encode(), {"Content-Type": "text/html"}
    if does.refuse:
        raise RefusalError(*does.refuse)
    _authorise(does, handler.headers.get("Authorization", ""))
    if bucket != BUCKET:
        raise RefusalError(404, "NoSuchBucket")
    if not key:
        return 200, _listing(does, query), {"Content-Type": "application/xml"}
    if handler.command == "PUT":
        return _put(does, key, body, handler)
    if handler.command == "DELETE":
        does.objects.pop(key, None)
        return 204, b"", {}
    if key not in does.objects:
        raise RefusalError(404, "NoSuchKey") if does.may_list else RefusalError(403, "AccessDenied")
    data = does.objects[key]
    return 200, data, {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Last-Modified": "Mon, 02 Jan 2023 00:00:00 GMT"}


def _authorise(does: Behaviour, authorization: str) -> None:
    access, _, region, *_ = [*authorization.partition("Credential=")[2].split("/"), "", "", ""]
    if access != KEY:
        raise RefusalError(403, "InvalidAccessKeyId")
    if does.region and region != does.region:
        raise RefusalError(400, "AuthorizationHeaderMalformed", f"<Region>{does.region}</Region>" * does.tells_region)


def _put(does: Behaviour, key: str, body: bytes, handler: BaseHTTPRequestHandler) -> tuple[int, bytes, dict[str, str]]:
    headers = {name.lower(): value for name, value in handler.headers.items()}
    if does.read_only:
        raise RefusalError(403, "AccessDenied")
    if any(name.startswith(("x-amz-checksum-", "x-amz-sdk-checksum", "x-amz-trailer")) for name in headers):
        if does.checksums == "refused":
            raise RefusalError(400, "XAmzContentSHA256Mismatch")
        if does.checksums == "kept in the data":
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    if "if-none-match" in headers and does.conditional != "ignored":
        if does.conditional == "not implemented":
            raise RefusalError(501, "NotImplemented")
        if does.conditional == "not atomic":
            there = key in does.objects
            time.sleep(0.05)
            if there:
                raise RefusalError(412, "PreconditionFailed")
            does.objects[key] = body
            return 200, b"", {"ETag": "x"}
        with does.lock:
            does.conflicts -= 1
            if does.conflicts >= 0:
                raise RefusalError(409, "ConditionalRequestConflict")
            if key in does.objects:
                raise RefusalError(412, "PreconditionFailed")
            does.objects[key] = body
    does.objects[key] = body
    return 200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}


def _listing(does: Behaviour, query: dict[str, str]) -> bytes:
    if not does.may_list:
        raise RefusalError(403, "AccessDenied")
    keys = sorted(key for key in does.objects if key.startswith(query.get("prefix", "")))
    entries = "".join(f"<Contents><Key>{escape(key)}</Key><ETag>x</ETag><Size>1</Size></Contents>" for key in keys)
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()


@contextmanager
def served(does: Behaviour) -> Iterator[str]:
    """The endpoint of a server that behaves so while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, data, headers = _answer(does, self, body)
            except RefusalError as refused:
                text = f"<Error><Code>{refused.code}</Code><Message>no</Message>{refused.more}</Error>"
                status, data, headers = refused.status, text.encode(), {"Content-Type": "application/xml"}
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with http_server(Handler) as url:
        yield url
