"""A run that was asked for tests of a marker and executed none fails: all skipped must not look like all well."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

QUICK = "tests/test_required.py::test_here"


def test_here() -> None:
    """What the runs below execute."""


@pytest.mark.parametrize(("wanted", "code"), [("", 0), ("test_here", 0), ("cluster", 1)])
def test_a_run_without_a_test_of_the_marker_fails(wanted: str, code: int) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", QUICK]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"SRLM_REQUIRE": wanted}, capture_output=True, text=True)
    assert done.returncode == code, done.stdout
    assert ("no test that is marked cluster was executed" in done.stdout) == bool(code)
