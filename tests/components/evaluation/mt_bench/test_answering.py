"""Both turns are one conversation, at the category's temperature, and what was answered is not asked again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.records import Manifest
from components.core.stage import join, read_records
from components.evaluation.mt_bench.answering import answer_questions
from components.evaluation.mt_bench.records import Answer
from components.evaluation.mt_bench.settings import MtBenchSettings
from tests.helpers.scripted_endpoint import Script, said

Serve = Callable[[Script], str]
Body = dict[str, Any]


def settings(folder: Path, **answers: Any) -> MtBenchSettings:
    return MtBenchSettings.model_validate({"questions": str(folder), "answers": {"concurrency": 1} | answers})


def root(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def answers_of(root: str, manifest: Manifest) -> dict[str, Answer]:
    return {a.id: a for a in read_records(join(root, manifest.stage, manifest.key), "answers", Answer)}


def echo(_: int, body: Body) -> tuple[int, Body]:
    return said(f"to: {body['messages'][-1]['content']}")


def test_turn_two_carries_turn_ones_answer(tmp_path: Path, benchmark_folder: Path, model: str, serve: Serve) -> None:
    script = Script(echo)
    made = answer_questions(root(tmp_path), settings(benchmark_folder), model, serve(script))
    assert made.counts.kept == {"answers": 4}
    assert made.metrics == {"mt_bench_answers_cut": 0}
    assert made.tokens == 8  # 4 answers of 2 tokens
    conversation = next(b["messages"] for b in script.bodies if b["messages"][-1]["content"] == "And doubled?")
    assert [(m["role"], m["content"]) for m in conversation] == [
        ("user", "What is 2+2?"),
        ("assistant", "to: What is 2+2?"),
        ("user", "And doubled?"),
    ]
    answers = answers_of(root(tmp_path), made)
    assert list(answers) == ["81/1", "111/1", "81/2", "111/2"]
    assert (answers["111/2"].prompt, answers["111/2"].text) == ("And doubled?", "to: And doubled?")
    assert answer_questions(root(tmp_path), settings(benchmark_folder), model, "") == made


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {"Write a line.": 0.7, "What is 2+2?": 0.0}),
        ({"temperatures": {}, "temperature": 0.3}, {"Write a line.": 0.3, "What is 2+2?": 0.3}),
    ],
)
def test_temperatures_are_the_categorys_unless_overridden(
    tmp_path: Path, benchmark_folder: Path, model: str, serve: Serve, changed: Body, expected: dict[str, float]
) -> None:
    script = Script(echo)
    answer_questions(root(tmp_path), settings(benchmark_folder, **changed), model, serve(script))
    seen = {body["messages"][0]["content"]: body["temperature"] for body in script.bodies}
    assert seen == expected
    assert {body["max_tokens"] for body in script.bodies} == {1024}


def test_a_resumed_stage_asks_only_for_what_is_missing(
    tmp_path: Path, benchmark_folder: Path, model: str, serve: Serve
) -> None:
    """The endpoint refuses the fourth request: three answers are kept, and only the fourth is asked again."""
    broken = Script(lambda number, body: echo(number, body) if number < 4 else (401, {"error": "no"}))
    with pytest.raises(UserError, match="refused"):
        answer_questions(root(tmp_path), settings(benchmark_folder), model, serve(broken))
    whole = Script(echo)
    made = answer_questions(root(tmp_path), settings(benchmark_folder), model, serve(whole))
    assert [body["messages"] for body in whole.bodies] == [broken.bodies[3]["messages"]]
    assert whole.bodies[0]["seed"] == broken.bodies[3]["seed"]
    assert made.counts.kept == {"answers": 4}


def test_a_cut_answer_is_kept_marked_and_counted(
    tmp_path: Path, benchmark_folder: Path, model: str, serve: Serve
) -> None:
    script = Script(lambda number, _: said("half an", "length" if number == 1 else "stop"))
    made = answer_questions(root(tmp_path), settings(benchmark_folder), model, serve(script))
    assert made.counts.kept == {"answers": 4}
    assert made.metrics == {"mt_bench_answers_cut": 1}
    assert answers_of(root(tmp_path), made)["81/1"].finish_reason == "length"


def test_without_a_first_answer_there_is_no_second_question(
    tmp_path: Path, benchmark_folder: Path, model: str, serve: Serve
) -> None:
    script = Script(lambda number, body: (422, {"error": "too many tokens"}) if number == 1 else echo(number, body))
    made = answer_questions(root(tmp_path), settings(benchmark_folder), model, serve(script))
    assert made.counts.kept == {"answers": 2}
    assert made.counts.dropped == {"turn 1: prompt too long": 1, "turn 2: turn 1 has no answer": 1}
    assert len(script.bodies) == 3


def test_the_key_depends_on_the_questions_and_not_on_where_they_are_or_how_they_are_graded(
    tmp_path: Path, benchmark_folder: Path, model: str, serve: Serve
) -> None:
    url = serve(Script(echo))
    key = answer_questions(root(tmp_path), settings(benchmark_folder), model, url).key
    moved = benchmark_folder.rename(tmp_path / "moved")
    graded = settings(moved).model_copy(update={"grading": MtBenchSettings().grading.model_copy(update={"seed": 5})})
    assert answer_questions(root(tmp_path), graded, model, url).key == key
    path = moved / "mt_bench" / "question.jsonl"
    path.write_text(path.read_text().replace("2+2", "2+3"))
    assert answer_questions(root(tmp_path), settings(moved), model, url).key != key
