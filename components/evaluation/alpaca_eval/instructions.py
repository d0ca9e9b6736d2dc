"""The instruction set of AlpacaEval and the outputs to compare with (Dubois et al. 2404.04475), checked beforehand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.records import Counts, Instruction, Manifest
from components.core.sources import Source, fetch
from components.core.stage import Stage
from components.evaluation.alpaca_eval.files import gives_texts, read_difficulty, read_gamed, require_no_mark
from components.evaluation.alpaca_eval.settings import InstructionsSettings

BUILT_IN = Path(__file__).with_name("builtin")
FORM = 'AlpacaEval\'s form is a JSON list of objects: [{"instruction": ..., "output": ..., "generator": ...}, ...].'


OTHER_SET = (
    "Use the file that belongs to the whole instruction set (instructions.count takes the first ones of it), add a "
    "column instruction with the texts, or leave instructions.difficulty out."
)
# The first ones of AlpacaEval's 805, by which its order is known.
ALPACA_EVAL_BEGINS = (
    "What are the names of some famous actors that started their careers on Broadway?",
    "How did US states get their names?",
)


def import_instructions(root: str, settings: InstructionsSettings) -> Manifest:
    """The instructions stage: records "instructions" (Instruction), in the order of the file.

    Raises UserError when a file is not in AlpacaEval's form, an instruction stands twice, or instructions and reference
    outputs do not match.
    """
    with ExitStack() as files:
        names = {
            "reference": settings.reference,
            "instructions": settings.instructions,
            "difficulty": settings.difficulty,
        }
        sources = {role: files.enter_context(fetch(name, BUILT_IN)) for role, name in names.items() if name}
        stage = Stage(root, "instructions", settings, {role: source.parent() for role, source in sources.items()})
        if stage.manifest:
            return stage.manifest
        instructions = match(sources["reference"], sources.get("instructions"))
        texts = [instruction.text for instruction in instructions]
        difficulty = read_difficulty(sources["difficulty"].path, texts) if "difficulty" in sources else {}
        gamed = read_gamed(sources["difficulty"].path, texts) if "difficulty" in sources else {}
        require_same_set(texts, difficulty, "difficulty" in sources and gives_texts(sources["difficulty"].path))
    chosen = instructions[: settings.count]
    counts = Counts(kept={"instructions": len(chosen)})
    if len(instructions) > len(chosen):
        counts.dropped["instruction: more than asked for"] = len(instructions) - len(chosen)
    return stage.publish(counts, {"instructions": with_difficulty(chosen, difficulty, gamed)})


def match(reference: Source, instructions: Source | None) -> list[Instruction]:
    """The instructions with their reference outputs; both files must hold the same ones in the same order."""
    outputs = _entries(reference, ("instruction", "output"))
    entries = _entries(instructions, ("instruction",)) if instructions else outputs
    _check_unique(entries, instructions or reference)
    if len(entries) != len(outputs):
        raise UserError(
            f"{reference.name} holds {len(outputs)} outputs for {len(entries)} instructions",
            "Give reference outputs for exactly the instructions that are asked.",
        )
    matched = []
    for number, (entry, output) in enumerate(zip(entries, outputs, strict=True)):
        if entry["instruction"] != output["instruction"]:
            raise UserError(
                f"entry {number + 1} of {reference.name} answers another instruction "
                f"({output['instruction'][:60]!r}) than the one that is asked ({entry['instruction'][:60]!r})",
                "Put the reference outputs into the order of the instructions.",
            )
        matched.append(
            Instruction(
                id=str(number),
                text=entry["instruction"],
                dataset=str(entry.get("dataset", "")),
                reference=output["output"],
                generator=str(output.get("generator", "reference")),
            )
        )
    return matched


def require_same_set(texts: Sequence[str], difficulty: Mapping[int, float], by_text: bool) -> None:
    """Raises UserError where these cannot be the instructions' difficulties: another number of them, or, where they are
    known by place alone, AlpacaEval's instructions in another order than AlpacaEval's."""
    if not difficulty:
        return
    problem, number = "", len(texts)
    if missing := sorted(set(range(number)) - difficulty.keys()):
        problem = f"the difficulty of {len(missing)} instructions is unknown (first: number {missing[0]})"
    elif more := len(difficulty) - number:
        problem = f"there are difficulties of {more} instructions more than the {number} of the set"
    elif not by_text and any(text in texts and texts[place] != text for place, text in enumerate(ALPACA_EVAL_BEGINS)):
        problem = "the instructions are AlpacaEval's in another order, and the difficulties are by place"
    if problem:
        raise UserError(problem, OTHER_SET)


def with_difficulty(
    instructions: Sequence[Instruction],
    difficulty: Mapping[int, float],
    gamed: Mapping[int, list[tuple[float, float]]],
) -> list[Instruction]:
    """The instructions with AlpacaEval's estimate of their difficulty, by their place in the set (from 0)."""
    if not difficulty:
        return list(instructions)
    return [
        i.model_copy(update={"difficulty": difficulty[int(i.id)], "gamed": gamed.get(int(i.id), [])})
        for i in instructions
    ]


def _entries(source: Source, keys: Sequence[str]) -> list[Mapping[str, Any]]:
    require_no_mark(source.path)
    try:
        entries = json.loads(source.path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{source.name} is no JSON: {error}", FORM) from error
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{source.name} holds no list of instructions", FORM)
    for number, entry in enumerate(entries, 1):
        wrong = [key for key in keys if not isinstance(entry, dict) or not isinstance(entry.get(key), str)]
        if wrong:
            raise UserError(f"entry {number} of {source.name} has no text under {wrong[0]!r}", FORM)
    return entries


def _check_unique(entries: Sequence[Mapping[str, Any]], source: Source) -> None:
    counts = Counter(entry["instruction"] for entry in entries)
    twice = [text for text, count in counts.items() if count > 1]
    if twice:
        raise UserError(
            f"{source.name} holds {len(twice)} instructions more than once (first: {twice[0][:60]!r})",
            "Remove the repetitions: each instruction counts once.",
        )
