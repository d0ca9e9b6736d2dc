"""Write the packages of all shipped recipes anew: `python -m pipelines.compiled`."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.compile import compile_recipe, load_recipe_for_elsewhere
from pipelines.recipe import shipped_recipes


def write_packages(folder: Path) -> list[Path]:
    """Compile every shipped recipe into `folder`; returns the files, each named after its recipe."""
    paths = [folder / f"{name}.yaml" for name in shipped_recipes()]
    for path in paths:
        compile_recipe(load_recipe_for_elsewhere(path.stem), path)
    return paths


if __name__ == "__main__":
    for written in write_packages(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent):
        print(f"wrote {written}")
