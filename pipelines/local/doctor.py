"""What a check of `srlm doctor` finds, and the checks of this machine: they serve who has no cluster yet."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.core.store import home

INSTALL = "pip install 'self-rewarding-pipelines[local]'"
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "fastapi", "uvicorn", "mlflow")
DISK, MEMORY = 5, 4  # GB; weights, checkpoints and logs of the demo's small model; trainer, engine, store and registry
GB = 10**9


@dataclass(frozen=True)
class Finding:
    """One line: `unknown` is what could not be queried or is not used here; a remedy says what to do."""

    state: Literal["ok", "broken", "unknown"]
    text: str
    remedy: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def broken(text: str, remedy: str) -> Finding:
    return Finding("broken", text, remedy)


def unknown(text: str, remedy: str = "") -> Finding:
    return Finding("unknown", text, remedy)


def check_machine() -> Iterator[Finding]:
    """Packages, programs, disk and memory of a run on this machine."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    yield broken(f"not installed: {', '.join(absent)}", INSTALL) if absent else ok("Python packages of a local run")
    weed = Path(sys.executable).with_name("weed").exists() or shutil.which("weed")
    yield ok("SeaweedFS (weed), the local store") if weed else broken("the program weed is not installed", INSTALL)
    yield _disk()
    yield _memory()


def _disk() -> Finding:
    target = home().absolute()
    existing = next(folder for folder in (target, *target.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / GB
    text = f"{free:.0f} GB free for {target}"
    return ok(text) if free >= DISK else broken(f"only {text}", f"Free {DISK} GB, or set SRLM_HOME to another disk.")


def _memory() -> Finding:
    """Of the machine; a container may have less."""
    path = Path("/proc/meminfo")
    if not path.exists():
        return unknown("how much memory is free is not known here")
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) * 1024 / GB
    text = f"{free:.1f} GB of memory available"
    return ok(text) if free >= MEMORY else broken(f"only {text}", f"Close something: the demo takes about {MEMORY} GB.")
