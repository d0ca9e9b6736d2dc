"""AlpacaEval's own files, so that its tools can read what was measured here (alpaca_eval 0.6)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.records import Annotation, Candidate, Instruction


def write_alpaca_eval_files(
    folder: Path,
    generator: str,
    annotator: str,
    instructions: Sequence[Instruction],
    outputs: Mapping[str, Candidate],
    annotations: Sequence[Annotation],
) -> None:
    """Write `model_outputs.json` and `annotations.json`; `generator` names the model, `annotator` may be a URI."""
    by_id = {annotation.id: annotation for annotation in annotations}
    answered = [
        {"instruction": i.text, "dataset": i.dataset, "output": outputs[i.id].text, "generator": generator}
        for i in instructions
    ]
    annotated = [_annotation(i, outputs[i.id], by_id[i.id], generator, annotator) for i in instructions]
    for name, entries in (("model_outputs.json", answered), ("annotations.json", annotated)):
        (folder / name).write_text(json.dumps(entries, indent=1, ensure_ascii=False))


def _annotation(
    instruction: Instruction, output: Candidate, annotation: Annotation, generator: str, annotator: str
) -> dict[str, Any]:
    """Output 1 is the reference; a preference of 1 is for it, 2 for the model, 1.5 for neither, null for unparsed."""
    return {
        "instruction": instruction.text,
        "dataset": instruction.dataset,
        "generator_1": file_name(instruction.generator),
        "output_1": instruction.reference,
        "generator_2": generator,
        "output_2": output.text,
        "annotator": file_name(annotator),
        "is_switched_outputs": annotation.switched,
        "preference": None if annotation.preference is None else 1 + annotation.preference,
        "preference_raw_completion": annotation.completion,
        "index": int(instruction.id),
    }


def file_name(name: str) -> str:
    """alpaca_eval makes a folder of the annotator's name and a file of the reference's: no path may stand in them."""
    return re.sub(r"[/\\:]+", "_", name).strip("_.")
