"""What a check of `srlm doctor` or `srlm check` finds; the checks of this machine, which serve who has no cluster yet,
and of a server of models."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.core.store import home
from components.serving.address import Address
from components.serving.conformance import NEEDED, examine

INSTALL = "pip install 'self-rewarding-pipelines[local]'"
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "fastapi", "uvicorn", "mlflow")
DISK, MEMORY = 5, 4  # GB; weights, checkpoints and logs of the demo's small model; trainer, engine, store and registry
GB = 10**9


@dataclass(frozen=True)
class Finding:
    """One line: `unknown` is what could not be queried or is not used here; a remedy says what to do."""

    state: Literal["ok", "warning", "broken", "unknown"]
    text: str
    remedy: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def broken(text: str, remedy: str) -> Finding:
    return Finding("broken", text, remedy)


def warning(text: str, remedy: str = "") -> Finding:
    return Finding("warning", text, remedy)


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


def check_server(address: Address) -> Iterator[Finding]:
    """What a server of models can do of what runs ask. Raises UserError where it answers nothing."""
    for ability in examine(address):
        text = f"{ability.name}{f': {ability.seen}' if ability.seen else ''}"
        if ability.state == "yes":
            yield ok(text)
        elif ability.state == "unknown":
            yield unknown(text, ability.without)
        else:
            state: Literal["broken", "warning"] = "broken" if ability.name in NEEDED else "warning"
            yield Finding(state, f"does not: {text}", ability.without)


def free_disk() -> tuple[float, Path]:
    """GB that are free where runs leave their files, and where that is."""
    target = home().absolute()
    existing = next(folder for folder in (target, *target.parents) if folder.exists())
    return shutil.disk_usage(existing).free / GB, target


def free_memory() -> float | None:
    """GB of the machine, of which a container may have less; None where it is not told."""
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return int(lines["MemAvailable"].split()[0]) * 1024 / GB


def _disk() -> Finding:
    free, target = free_disk()
    text = f"{free:.0f} GB free for {target}"
    return ok(text) if free >= DISK else broken(f"only {text}", f"Free {DISK} GB, or set SRLM_HOME to another disk.")


def _memory() -> Finding:
    free = free_memory()
    if free is None:
        return unknown("how much memory is free is not known here")
    text = f"{free:.1f} GB of memory available"
    return ok(text) if free >= MEMORY else broken(f"only {text}", f"Close something: the demo takes about {MEMORY} GB.")
