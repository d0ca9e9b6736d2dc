"""srlm check: a recipe that would fail says so before anything runs, each kind of fault where it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.main import app
from pipelines.local.check import CHECKS
from tests.helpers.scripted_endpoint import Script, said
from tests.helpers.tiny_loop import SETTINGS
from tests.helpers.tiny_model import make_tiny_model


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Of the tiny loop's recipe, with settings and options of one's own."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    base = make_tiny_model(tmp_path / "model")

    def run(*settings: str, options: tuple[str, ...] = ()) -> Result:
        overrides = [part for one in (*SETTINGS, f"model.base={base}", *settings) for part in ("--set", one)]
        return CliRunner().invoke(app, ["check", "demo", *overrides, *options])

    return run


def judge_that_says(ending: str) -> Script:
    """Another text for each seed, which ends alike."""

    def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return said(f"Remark {body.get('seed', number)} on it. {ending}")

    return Script(answer)


def lines(told: Result) -> dict[str, list[str]]:
    """Marks by the check's name, the last line apart."""
    found: dict[str, list[str]] = {}
    for line in told.stdout.splitlines()[:-1]:
        mark, name = line.split()[:2]
        found.setdefault(name, []).append(mark)
    return found


def test_a_recipe_that_would_run_passes_and_leaves_nothing(
    check: Callable[..., Result], serve: Callable[[Script], str], tmp_path: Path
) -> None:
    told = check(options=("--judge-endpoint", serve(judge_that_says("Score: 4"))))
    assert told.exit_code == 0, told.output
    assert list(lines(told)) == list(CHECKS)
    assert "8 of 8 for ift, 4 of 4 for eft, 6 of 6 for eval" in told.stdout
    assert "judged one example 2 times, with the scores 4, 4" in told.stdout
    assert told.stdout.splitlines()[-1].split(":")[1].startswith(" 0 fail, 0 could not be made")
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_a_judge_whose_judgements_hold_no_score_fails(
    check: Callable[..., Result], serve: Callable[[Script], str]
) -> None:
    told = check(options=("--judge-endpoint", serve(judge_that_says("I like it."))))
    assert told.exit_code == 1
    assert lines(told)["judge"] == ["FAILS"] and "0 with a score; else: no score" in told.stdout


@pytest.mark.slow
def test_without_an_endpoint_a_small_model_judges_here(check: Callable[..., Result]) -> None:
    """A random one ends on no score, which EFT is there for."""
    told = check("judging.max_tokens=16")
    assert told.exit_code == 0, told.output
    assert lines(told)["judge"] == ["warning"] and "M0 judged one example 2 times" in told.stdout


FAULTS = [
    ("data.ift=3200 eft.min_examples=8 data.eft_prompts=null", "data", "0 of 1 for eft"),
    ("data.ift=60 eft.min_examples=17", "data", "eft.min_examples is 17"),
    ("eft.source=file eft.file=./nothing.jsonl", "files", "eft.file: "),
    ("prompts.source=file prompts.file={folder}/prompts.jsonl", "data", "has 3 prompts left"),
    ("model.base={folder}/bare", "model", "no chat template"),
    ("model.base={folder}/empty", "model", "no safetensors"),
]


@pytest.mark.parametrize(("settings", "name", "problem"), FAULTS)
def test_what_a_run_would_end_with_fails(
    settings: str, name: str, problem: str, check: Callable[..., Result], serve: Callable[[Script], str], tmp_path: Path
) -> None:
    """Each by the check that it belongs to, with what the run itself would say; the judge is another one's."""
    prompts = [json.dumps({"prompt": f"Name {n} rivers."}) for n in range(3)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(prompts))
    bare = make_tiny_model(tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    (tmp_path / "empty").mkdir()
    url = serve(judge_that_says("Score: 4"))
    told = check(*settings.format(folder=tmp_path).split(), options=("--judge-endpoint", url))
    assert told.exit_code == 1, told.output
    assert "FAILS" in lines(told)[name] and problem in told.stdout


def test_a_hub_that_does_not_answer_is_no_fault_of_the_recipe(
    check: Callable[..., Result], serve: Callable[[Script], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(HfApi, "model_info", unreachable)
    told = check("model.base=somebody/some-model", options=("--judge-endpoint", serve(judge_that_says("Score: 4"))))
    assert told.exit_code == 2, told.output
    assert lines(told)["model"] == ["?"] and "Network is unreachable" in told.stdout


def test_an_endpoint_that_lacks_what_runs_need_fails(
    check: Callable[..., Result], serve: Callable[[Script], str]
) -> None:
    """It gives one text for every seed: no pairs."""
    told = check(options=("--judge-endpoint", serve(Script(lambda *_: said("Score: 3")))))
    assert told.exit_code == 1
    assert "FAILS   endpoint" in told.stdout and "does not: draws at temperature 1" in told.stdout


def test_a_script_reads_the_same_checks(check: Callable[..., Result], tmp_path: Path) -> None:
    told = check("data.messages=" + str(tmp_path / "none.jsonl"), options=("--json",))
    assert told.exit_code == 1
    found = json.loads(told.stdout)["checks"]
    assert {one["name"] for one in found} <= set(CHECKS)
    assert [one["remedy"] != "" for one in found if one["state"] == "broken"] != []
