"""Kubeflow Pipelines behind a login and TLS of a private authority, asked by each command that speaks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.cluster import submission
from pipelines.cluster.kubeflow import CA, COOKIE
from tests.helpers.authority import Signed, signed_for
from tests.helpers.login import behind_login
from tests.pipelines.cluster.test_submission import Kubeflow, served

LOGIN = "oauth2_proxy_kubeflow=planted-cookie-19"
PLACE = ("--store=s3://b/a", "--tracking-uri=http://mlflow:5000")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """Certificates, in a process that knows neither cluster nor Kubeflow; options may write these variables."""
    for name in (CA, COOKIE, "SSL_CERT_FILE", "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_TOKEN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    return signed_for(tmp_path, "127.0.0.1")


@pytest.fixture
def host(files: Signed, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    def compiled(recipe: object, package: Path, part: int) -> None:
        package.write_text("pipelineInfo: {name: demo}")

    monkeypatch.setattr(submission, "compile_recipe", compiled)
    with served(Kubeflow()) as kubeflow, behind_login(kubeflow, files.server, ("Cookie", LOGIN)) as url:
        yield url


def asked(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert "planted-cookie" not in done.output and not isinstance(done.exception, AssertionError)
    return " ".join(done.output.split()) + str(done.exception or "")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("submit", "demo", "--run=one", *PLACE), "run one submitted: run-0"),
        (("doctor", "--only=kubeflow"), "ok kubeflow Kubeflow Pipelines answers (one user)"),
        (("status", "one"), "no run"),
        (("logs", "one"), "no run"),
        (("cancel", "one"), "there is no run 'one' to cancel"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_each_command_takes_the_authority_and_the_cookie(
    host: str, files: Signed, command: tuple[str, ...], says: str
) -> None:
    text = asked(*command, f"--host={host}", f"--ca={files.authority}", f"--cookie={LOGIN}")
    assert says in text and "does not answer" not in text and "does not know" not in text


def test_without_them_the_options_are_named(host: str, files: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE, which a pod's ca_bundle sets, does as well as --ca."""
    assert "--ca" in asked("doctor", "--only=kubeflow", f"--host={host}")
    monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
    refused = asked("doctor", "--only=kubeflow", f"--host={host}")
    assert "does not know who we are" in refused and "--cookie" in refused
    monkeypatch.setenv(COOKIE, LOGIN)
    assert "answers (one user)" in asked("doctor", "--only=kubeflow", f"--host={host}")


def test_an_authority_that_is_no_file_is_refused(host: str) -> None:
    assert "nosuch.pem" in asked("doctor", "--only=kubeflow", f"--host={host}", "--ca=nosuch.pem")
