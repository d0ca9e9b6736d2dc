"""Questions with reference answers in a recipe: its paths and its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError
from pipelines.recipe import load_recipe


def test_a_relative_path_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.jsonl").write_text("")
    exact = load_recipe("demo", ["evaluation.exact_answers.questions=q.jsonl"]).evaluation.exact_answers
    assert exact is not None
    assert exact.questions == str(tmp_path / "q.jsonl")


def test_mistakes_are_told_with_their_path() -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("demo", ["evaluation.exact_answers.pattern=(", "evaluation.exact_answers.temperature=0"])
    for part in ("3 mistakes", "exact_answers.questions: is missing", "exact_answers.pattern: must be a regular"):
        assert part in caught.value.problem
