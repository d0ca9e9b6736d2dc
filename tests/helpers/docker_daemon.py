"""The Docker daemon, and the images that `make images` builds."""

from __future__ import annotations

import subprocess

import pytest

from components.core.hashing import code_version
from components.core.images import PREFIX


def require_images(*names: str) -> None:
    """Skip the test, with the reason, where there is no daemon or it has not got the images."""
    for name in names:
        image = f"{PREFIX}/{name}:{code_version()}"
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode:
            pytest.skip(f"no Docker daemon has the image {image}: make images")
