"""`srlm` in this process, which has loaded what one of its own would load for seconds."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from components.core import store
from pipelines.cli.main import main

OUTSIDE = ("AWS_", "SRLM_", "KF_")  # variables of this process that the command does not see


def srlm(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and everything printed, in that folder and with these variables; it leaves none behind."""
    said, before = io.StringIO(), dict(os.environ)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["srlm", *arguments])
        patch.setattr(signal, "signal", lambda *_: None)  # what ends this process stays pytest's
        kept = {name: value for name, value in before.items() if not name.startswith(OUTSIDE)}
        try:
            os.environ.clear()
            os.environ.update(kept | environment)
            store._s3.cache_clear()
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            os.environ.clear()
            os.environ.update(before)
            store._s3.cache_clear()
    return int(ended.value.code or 0), said.getvalue()
