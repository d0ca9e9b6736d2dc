"""`python -m examples.world.make DIR --seed N --judge NAME`: write a world's data and its untrained model below DIR."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from examples.world.data import FULL, Row, Sizes, draw_world
from examples.world.judges import JUDGES, PERFECT, Judge

# Which setting of the recipe names which file. The recipe itself expects them below ./world.
FILES = {
    "data.messages": "messages.jsonl",
    "eft.file": "judgements.jsonl",
    "prompts.file": "prompts.jsonl",
    "evaluation.exact_answers.questions": "questions.jsonl",
    "model.base": "model",
}


def make_world(folder: Path, seed: int, sizes: Sizes = FULL, judge: Judge = PERFECT) -> None:
    """Write all files that FILES names; the same seed gives the same bytes."""
    from examples.world.model import write_model

    folder.mkdir(parents=True, exist_ok=True)
    world = draw_world(seed, sizes, judge)
    for name in ("messages", "judgements", "prompts", "questions"):
        write_lines(folder / f"{name}.jsonl", getattr(world, name))
    write_model(folder / "model", seed)


def overrides(folder: Path) -> list[str]:
    """What to give the recipe with --set for a world in another folder than ./world."""
    return [f"{setting}={folder / name}" for setting, name in FILES.items()]


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.world.make", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="default: the judge's name, where its recipe looks")
    parser.add_argument("--judge", choices=JUDGES, default=PERFECT.name, help="which world: see judges.py")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    folder = options.folder or Path(options.judge)
    make_world(folder, options.seed, judge=JUDGES[options.judge])
    print(f"wrote {', '.join(FILES.values())} below {folder}")


if __name__ == "__main__":
    main()
