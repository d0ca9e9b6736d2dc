"""AlpacaEval's own files (alpaca_eval 0.6): difficulties are read, and what was measured is written for its tools."""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.records import Annotation, Candidate, Instruction

CSV_FORM = "AlpacaEval's form is a CSV file with the columns index (place in the set) and instruction_difficulty."


def write_alpaca_eval_files(
    folder: Path,
    generator: str,
    annotator: str,
    instructions: Sequence[Instruction],
    outputs: Mapping[str, Candidate],
    annotations: Sequence[Annotation],
) -> None:
    """Write `model_outputs.json` and `annotations.json`; both names hang on no place."""
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


def read_difficulty(path: Path, texts: Sequence[str] = ()) -> dict[int, float]:
    """The difficulty of the instructions by their place in the set, from 0.

    Reads instruction_difficulty.csv and df_gamed.csv, which repeats it. Where the file has the column instruction, a
    row's place is that of its text in `texts`. Raises UserError when it is neither, or a number is none.
    """
    difficulty: dict[int, float] = {}
    for line, row, place in _rows(path, texts):
        value = _number(path, line, row, "instruction_difficulty")
        if difficulty.setdefault(place, value) != value:
            raise UserError(f"line {line} of {path.name} gives instruction {place} another difficulty", CSV_FORM)
    if not difficulty:
        raise UserError(f"{path.name} holds no instruction", CSV_FORM)
    return difficulty


def read_gamed(path: Path, texts: Sequence[str] = ()) -> dict[int, list[tuple[float, float]]]:
    """Preference and standardised length of the gamed baselines, by place in the set; none outside df_gamed.csv."""
    gamed: dict[int, list[tuple[float, float]]] = {}
    for line, row, place in _rows(path, texts):
        if not {"preference", "std_delta_len"} <= row.keys():
            return {}
        preference = _number(path, line, row, "preference")
        if not 0 <= preference <= 1:
            raise UserError(
                f"line {line} of {path.name} has the preference {preference:g}, which is not between 0 and 1",
                "df_gamed.csv counts from 0 to 1. Where 1 is for the reference and 2 for the model, as in AlpacaEval's "
                "annotations.json, subtract 1 from each.",
            )
        gamed.setdefault(place, []).append((preference, _number(path, line, row, "std_delta_len")))
    most = max(map(len, gamed.values()), default=0)
    for index, baselines in gamed.items():
        if len(baselines) < most:
            raise UserError(f"{path.name} has instruction {index} by {len(baselines)} of {most} baselines", CSV_FORM)
    return gamed


def gives_texts(path: Path) -> bool:
    """Whether the rows name their instructions by text, so that their order does not matter."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return "instruction" in next(csv.reader(file), [])


def _number(path: Path, line: int, row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError as error:
        raise UserError(f"line {line} of {path.name} holds no {column}: {error}", CSV_FORM) from error
    if not math.isfinite(value):
        raise UserError(f"line {line} of {path.name} has the {column} {value}", CSV_FORM)
    return value


def _rows(path: Path, texts: Sequence[str]) -> Iterator[tuple[int, dict[str, str], int]]:
    """The rows with their line numbers and places; the first column is the index where none has that name."""
    require_no_mark(path)
    places = {text: place for place, text in enumerate(texts)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, restval="")
            header = list(table.fieldnames or [])
            if "instruction_difficulty" not in header:
                raise UserError(f"{path.name} has no column instruction_difficulty", CSV_FORM)
            if "index" not in header and "instruction" not in header:
                table.fieldnames = ["index", *header[1:]]
            for row in table:
                yield table.line_num, row, _place(path, table.line_num, row, places)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path.name} is no CSV: {error}", CSV_FORM) from error


def _place(path: Path, line: int, row: Mapping[str, str], places: Mapping[str, int]) -> int:
    if "instruction" in row and places:
        if row["instruction"] not in places:
            raise UserError(
                f"line {line} of {path.name} has an instruction that is not in the set ({row['instruction'][:60]!r})",
                "Use the file that belongs to the instruction set, or leave instructions.difficulty out.",
            )
        return places[row["instruction"]]
    try:
        return int(row["index"])
    except (KeyError, ValueError) as error:
        raise UserError(f"line {line} of {path.name} holds no place in the set: {error}", CSV_FORM) from error


def require_no_mark(path: Path) -> None:
    """Raises UserError where a byte order mark, as Excel and Notepad write it, stands before the text."""
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
            raise UserError(
                f"{path.name} begins with a byte order mark (BOM), which would be a part of its first name",
                "Save it as UTF-8 without BOM.",
            )
