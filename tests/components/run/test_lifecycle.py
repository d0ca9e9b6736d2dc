"""The first step of a run: what it notes of the run, and which data it imports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.context import RunContext, RunData, RunState, open_step, read_context
from components.core.errors import UserError
from components.core.stage import read_manifest
from components.run.lifecycle import import_data

DATA = {"messages": "builtin:demo", "ift": 4, "eft_prompts": 2, "eval_prompts": 2, "seed": 1}


def context(store: Path, **recipe: Any) -> RunContext:
    where = dict.fromkeys(("endpoint", "judge_endpoint", "annotator_endpoint"), "")
    images = {"worker_image": "w", "trainer_image": "t", "engine_image": ""}
    common = {"name": "toy", "data": DATA, "evaluation": {}}
    return RunContext(
        store=str(store), run="r", recipe=common | recipe, tracking_uri="x", engine="embedded", **where, **images
    )


def test_steps_read_what_the_first_one_wrote(tmp_path: Path) -> None:
    written = context(tmp_path, judging={"samples": 3})
    written.write()
    assert read_context(written.uri) == written
    assert written.uri == f"{tmp_path}/runs/r"


def test_a_step_of_no_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="is not the folder of a run"):
        read_context(f"{tmp_path}/runs/r")
    with pytest.raises(SystemExit), open_step(f"{tmp_path}/runs/r", "judge M1"):
        pass
    assert "error in judge M1: " in capsys.readouterr().err


def test_without_instructions_and_questions_there_are_none(tmp_path: Path) -> None:
    data = import_data(context(tmp_path))
    assert read_manifest(data.seed_data).stage == "seed_data"
    assert (data.instructions, data.questions) == ("", "")


def test_questions_are_imported_once_by_what_decides_which_they_are(tmp_path: Path) -> None:
    """How they are asked (samples, temperature) is no part of their stage: both recipes share it."""
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "2 + 3?", "answer": "5"}) + "\n")
    exact = {"questions": f"{tmp_path}/q.jsonl"}
    uris = {
        import_data(context(tmp_path, evaluation={"exact_answers": exact | {"samples": samples}})).questions
        for samples in (1, 4)
    }
    assert [read_manifest(uri).stage for uri in uris] == ["questions"]


def test_the_state_of_a_run_survives_as_a_parameter_of_kfp() -> None:
    """KFP hands structures on as JSON."""
    state = RunState("s/runs/r", RunData("seeds", base="m0"), "m1", "model", "evaluation", prompts=("p1", "p2"))
    assert RunState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize(
    ("judgements", "annotation", "measurements"),
    [("j", "a", ["e", "a", "j"]), ("j", "", ["e", "e", "j"]), ("", "a", [])],
)
def test_a_model_is_held_against_the_one_before_if_that_is_a_judge(
    judgements: str, annotation: str, measurements: list[str]
) -> None:
    """The SFT baseline judges no candidates: it is M1's opponent, but nothing that M1's gate could compare."""
    state = RunState("r", RunData("s"), "m1", "model", "e", annotation, "c", judgements)
    assert state.measurements() == measurements
