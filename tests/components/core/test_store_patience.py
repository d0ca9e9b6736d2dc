"""A store that is away for a while is asked again, longer in a pod, and the log says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from components.core import store as module
from components.core.errors import UserError
from components.core.store import open_store
from tests.faults.bad_store import bad_store
from tests.helpers.scripted_s3 import BUCKET, KEY, Behaviour, served

AWAY = (503, "ServiceUnavailable", "")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    """One that answers 503; pauses pass at once."""
    pytest.importorskip("boto3")
    does = Behaviour(refuse=AWAY)
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    with served(does) as url:
        for name, value in (("ENDPOINT_URL_S3", url), ("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", "secret")):
            monkeypatch.setenv(f"AWS_{name}", value)
        module._s3.cache_clear()
        yield does
    module._s3.cache_clear()


@pytest.mark.parametrize(("variables", "tries", "lines"), [
    ({}, 5, 1), ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 25, 4), ({"AWS_MAX_ATTEMPTS": "2"}, 2, 0),
])  # fmt: skip
def test_it_is_asked_so_often(
    away: Behaviour, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    variables: dict[str, str], tries: int, lines: int,
) -> None:  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="less busy"):
        open_store(f"s3://{BUCKET}/a").read("x")
    assert len(away.requests) == tries
    assert capsys.readouterr().err.count("does not answer (HTTP 503); asking again") == lines


@pytest.mark.parametrize("kind", ["a download that is cut off", "away"])
def test_what_breaks_off_on_its_way_is_asked_for_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 tries a request again, but not an answer that has begun; that was told as a defect."""
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    with served(Behaviour()) as url, bad_store(url, kind, share=0.5) as bad:
        for name, value in (("ENDPOINT_URL_S3", bad.url), ("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", "secret")):
            monkeypatch.setenv(f"AWS_{name}", value)
        module._s3.cache_clear()
        monkeypatch.setattr(module.time, "sleep", lambda _: None)
        store = open_store(f"s3://{BUCKET}/a")
        store.write("x", b"whole" * 100)
        assert [store.read("x") for _ in range(4)] == [b"whole" * 100] * 4
        bad.share = 1.0
        with pytest.raises(UserError, match="then run again: finished work is kept"):
            store.read("x")
    module._s3.cache_clear()
    assert bad.failed > 4
