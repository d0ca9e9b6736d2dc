"""Files that a recipe names and that lie on one machine alone."""

from __future__ import annotations

from typing import Any

from pipelines.recipe import PATHS, Recipe


def local_files(recipe: Recipe) -> list[str]:
    """Settings whose value is a path (./, ../ or /), each as `setting: path`."""
    found = []
    for dotted in PATHS:
        value: Any = recipe.plain()
        for name in dotted.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str) and value.startswith(("./", "../", "/")):
            found.append(f"{dotted}: {value}")
    return found
