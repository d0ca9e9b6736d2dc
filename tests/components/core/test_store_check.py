"""Stores as people run them: the same operations of a stage, or a refusal before any work, each with its own remedy."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from components.core import store as store_module
from components.core.errors import UserError
from components.core.records import Counts, Prompt
from components.core.s3_refusals import refusal
from components.core.settings import Settings
from components.core.sources import fetch
from components.core.stage import Stage, read_records
from components.core.store import open_store
from components.core.store_check import check_store
from pipelines.cluster.doctor import try_store
from pipelines.compile import load_recipe_for_elsewhere
from tests.helpers.chart import pick, render
from tests.helpers.http_server import HttpServer, running
from tests.helpers.scripted_s3 import (
    BUCKET,
    KEY,
    REGION,
    Behaviour,
    aws_like,
    ceph_like,
    garage_like,
    minio_like,
    served,
)

URI = f"s3://{BUCKET}/runs"
Start = Callable[[Behaviour], Behaviour]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Start a scripted store, which the environment then names."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_REQUEST_CHECKSUM_CALCULATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with ExitStack() as servers:

        def begin(does: Behaviour) -> Behaviour:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", servers.enter_context(served(does)))
            store_module._s3.cache_clear()
            return does

        yield begin
    store_module._s3.cache_clear()


def make_a_stage() -> None:
    """What a stage does with a store: progress, records, a folder, the manifest, and reading it all again."""
    stage = Stage(URI, "prompts", Settings(), {})
    prompts = [Prompt(id=str(n), text=f"text {n}") for n in range(3)]
    stage.store.write("progress/prompts/1", b'{"id": "0", "text": "text 0"}\n')
    assert list(stage.load_progress("prompts", Prompt)) == ["0"]
    stage.publish(Counts(kept={"prompts": 3}), {"prompts": prompts})
    again = Stage(URI, "prompts", Settings(), {})
    assert again.manifest == stage.manifest
    assert read_records(again.uri, "prompts", Prompt) == prompts
    assert not again.store.names("progress/")


def test_a_store_that_does_everything_is_used_and_left_empty(start: Start) -> None:
    does = start(minio_like())
    check_store(open_store(URI))
    assert does.objects == {}
    make_a_stage()


def test_writers_that_meet_try_again_and_one_of_them_wins(start: Start) -> None:
    """AWS answers 409 to conditional puts that meet, whoever is first: that is no sign that anything is there."""
    start(Behaviour(conflicts=12))
    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(lambda n: open_store(URI).create("once", str(n).encode()), range(6)))
    assert won.count(True) == 1
    assert open_store(URI).read("once") == str(won.index(True)).encode()


def test_a_store_whose_conflicts_do_not_end_is_named(start: Start) -> None:
    start(Behaviour(conflicts=10_000))
    with pytest.raises(UserError, match="another write is under way"):
        open_store(URI).create("once", b"")


def test_checksums_that_a_store_does_not_take_are_named_and_can_be_left_out(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for does in (ceph_like(), Behaviour(checksums="kept in the data")):
        monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION", raising=False)
        start(does)
        with pytest.raises(UserError, match=r"does not take checksums.*AWS_REQUEST_CHECKSUM_CALCULATION=when_required"):
            check_store(open_store(URI))
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        store_module._s3.cache_clear()
        check_store(open_store(URI))
        make_a_stage()


def test_the_lines_that_it_proposes_work(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the variable, for pods the chart's value or the recipe's; what comes back is not checked either."""
    start(ceph_like())
    found = try_store(open_store(URI))
    variable, chart, recipe = re.findall(r"Set (\S+=\S+) .*--set (config\S+), .*--set '(.+?)'", found.remedy)[0]
    name, value = variable.split("=")
    data = pick(render(f"--set={chart}"), "ConfigMap", "srlm")["data"]
    asked = load_recipe_for_elsewhere("demo", [recipe]).cluster.environment.variables
    assert data[name] == asked[name] == value
    monkeypatch.setenv(name, value)
    does = start(ceph_like())
    assert try_store(open_store(URI)).state == "ok"
    make_a_stage()
    assert not any("checksum" in header for header in does.headers)


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (garage_like(), "lets a second writer replace what is there.*Use a store that has conditional puts.*seaweedfs"),
        (Behaviour(conditional="not atomic"), "lets a second writer replace what is there"),
        (
            Behaviour(conditional="not implemented"),
            "NotImplemented.*If-None-Match.*Use a store that has conditional puts",
        ),
        (Behaviour(may_list=False), "Permit s3:GetObject .*and s3:ListBucket on the bucket"),
        (Behaviour(read_only=True), "Permit s3:PutObject for these credentials"),
        (Behaviour(page="<html>It works!</html>"), "things that are not there.*Is it an S3 server"),
        (Behaviour(refuse=(403, "SignatureDoesNotMatch", "")), "Correct AWS_SECRET_ACCESS_KEY"),
        (Behaviour(refuse=(403, "InvalidAccessKeyId", "")), "Correct AWS_ACCESS_KEY_ID"),
        (Behaviour(refuse=(400, "ExpiredToken", "")), "AWS_SESSION_TOKEN"),
        (Behaviour(refuse=(403, "RequestTimeTooSkewed", "")), "Set this machine's clock"),
        (Behaviour(refuse=(404, "NoSuchBucket", "")), "Make the bucket"),
        (Behaviour(refuse=(507, "InsufficientStorage", "")), "Free some space in the store"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_store_that_cannot_be_used_is_refused_before_any_work(start: Start, does: Behaviour, says: str) -> None:
    start(does)
    with pytest.raises(UserError, match=says):
        check_store(open_store(URI))
    assert not does.objects, "nothing is left"


def test_the_region_that_a_store_names_is_followed(start: Start) -> None:
    start(aws_like())
    check_store(open_store(URI))
    make_a_stage()


def test_the_region_is_found_as_boto3_finds_it(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From AWS_REGION, AWS_DEFAULT_REGION, the profile; this store does not say which one would be right."""
    start(Behaviour(region=REGION, tells_region=False))
    with pytest.raises(UserError, match="Set AWS_REGION to the bucket's region"):
        open_store(URI).read("x")

    def works() -> bool:
        store_module._s3.cache_clear()
        return open_store(URI).read("x") is None

    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        with monkeypatch.context() as patch:
            patch.setenv(name, REGION)
            assert works()
    (tmp_path / "config").write_text(f"[default]\nregion = us-west-2\n[profile team]\nregion = {REGION}\n")
    (tmp_path / "credentials").write_text(f"[team]\naws_access_key_id = {KEY}\naws_secret_access_key = s\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert works()


@pytest.mark.parametrize(
    ("code", "operation", "says"),
    [
        ("SlowDown", "PutObject", "less busy"),
        ("503", "HeadObject", "less busy"),
        ("InvalidToken", "GetObject", "AWS_SESSION_TOKEN"),
        ("TokenRefreshRequired", "ListObjectsV2", "AWS_SESSION_TOKEN"),
        ("RequestExpired", "PutObject", "clock"),
        ("InvalidBucketName", "PutObject", "Correct the bucket's name"),
        ("XMinioStorageFull", "PutObject", "Free some space"),
        ("QuotaExceeded", "UploadPart", "raise its quota"),
        ("XAmzContentSHA256Mismatch", "PutObject", "config.s3Checksums=when_required"),
        ("501", "CreateMultipartUpload", "srlm doctor --only store"),
        ("AccessDenied", "CompleteMultipartUpload", "s3:PutObject"),
        ("AllAccessDisabled", "GetObject", "s3:GetObject"),
        ("IllegalLocationConstraintException", "PutObject", "Set AWS_REGION"),
        ("307", "HeadBucket", "Set AWS_REGION"),
        ("PermanentRedirect", "GetObject", "Set AWS_REGION to the bucket's region, eu-north-1"),
        ("AccessDenied", "DeleteObject", "s3:DeleteObject"),
        ("AccessDenied", "ListObjectsV2", "s3:ListBucket"),
        ("403", "HeadObject", "s3:GetObject.*s3:ListBucket"),
        ("400", "HeadObject", "Set AWS_REGION"),
        ("NotImplemented", "PutObject", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
        ("SomethingNew", "PutObject", "Check that it is running"),
    ],
)
def test_each_refusal_has_its_remedy(code: str, operation: str, says: str) -> None:
    headers = {"x-amz-bucket-region": "eu-north-1"}
    error = ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPHeaders": headers}}, operation)  # type: ignore[typeddict-item]
    assert re.search(says, refusal(URI, error).remedy)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"AWS_ACCESS_KEY_ID": "other"}, "Correct AWS_ACCESS_KEY_ID"),
        ({"AWS_PROFILE": "nobody"}, "Correct AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL_S3": "minio:9000"}, "Correct AWS_ENDPOINT_URL_S3"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "Check that it is running"),
    ],
)
def test_a_wrong_environment_is_named(
    start: Start, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    start(minio_like())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    store_module._s3.cache_clear()
    with pytest.raises(UserError, match=says):
        open_store(URI).write("x", b"")


def test_a_bucket_that_is_not_there_is_named(start: Start) -> None:
    start(minio_like())
    with pytest.raises(UserError, match=r"s3://other/runs at http://127.*Make the bucket"):
        check_store(open_store("s3://other/runs"))


def test_a_file_that_may_not_be_seen_names_both_rights(start: Start) -> None:
    """Without s3:ListBucket S3 answers 403 for an object that is not there, and says no more."""
    start(Behaviour(may_list=False))
    with pytest.raises(UserError, match="s3:GetObject on its objects and s3:ListBucket"), fetch(f"{URI}/file.jsonl"):
        pass


def test_a_store_whose_authority_is_not_known_names_the_bundle(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    server = HttpServer(BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    start(minio_like())
    with running(server) as place:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://{place}")
        store_module._s3.cache_clear()
        with pytest.raises(UserError, match="Set AWS_CA_BUNDLE"):
            open_store(URI).read("x")
