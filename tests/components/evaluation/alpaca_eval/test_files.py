"""What the annotation stage writes for AlpacaEval's tools is read by alpaca_eval itself; its difficulties are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sklearn

from components.core.errors import UserError
from components.core.records import Annotation, Candidate, Instruction
from components.evaluation.alpaca_eval.annotation import alpaca_eval_metrics, length_control, preferences
from components.evaluation.alpaca_eval.files import file_name, read_difficulty, read_gamed, write_alpaca_eval_files
from components.metrics.bootstrap import Resampling
from components.metrics.length_control import gamed_rows
from components.metrics.observations import figures

# A win, a near loss, a tie, no valid answer, a loss, and others so that there are enough for five folds.
PREFERRED = [1.0, 0.1, 0.5, None, 0.0, 0.7, 0.6, 0.2, 0.9, 0.3, None, 0.8]
ANNOTATOR = "/data/runs/model/ab12"


def instructions() -> list[Instruction]:
    return [
        Instruction(
            id=str(n), text=f"Was heißt „{n}“?", dataset="toy", reference="r" * (20 + n), generator="org/reference"
        )
        for n in range(len(PREFERRED))
    ]


def outputs() -> dict[str, Candidate]:
    lengths = {str(n): 10 + 7 * (n % 5) for n in range(len(PREFERRED))}
    return {
        n: Candidate(id=n, prompt_id=n, prompt="q", text="ä" * size, finish_reason="stop", seed=0, tokens=1)
        for n, size in lengths.items()
    }


def annotations() -> list[Annotation]:
    return [
        Annotation(
            id=str(n), preference=p, form="weighted", switched=n % 2 == 0, completion="m", seed=0, tokens=1
        )
        for n, p in enumerate(PREFERRED)
    ]  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_alpaca_eval_files(tmp_path, "M1", ANNOTATOR, instructions(), outputs(), annotations())
    return tmp_path


@pytest.fixture
def metrics(written: Path) -> Iterator[dict[str, Any]]:
    """What `alpaca_eval evaluate --is_recompute_metrics_only` makes of the two files, on its length-controlled form
    that needs nothing from the hub."""
    import alpaca_eval
    from alpaca_eval.metrics import glm_winrate

    with pytest.MonkeyPatch.context() as patch, sklearn.config_context():
        table = pd.DataFrame({"model": "gamed", "index": range(12), "instruction_difficulty": 0.0})
        table.to_csv(written / "df_gamed.csv", index=False)
        pd.DataFrame({"mode": ["community"]}, index=["M1"]).to_csv(written / "board.csv")
        patch.setattr(glm_winrate, "hf_hub_download", lambda **_: written / "df_gamed.csv")
        patch.setattr(glm_winrate, "__file__", str(written / "package" / "glm_winrate.py"))  # it writes beside itself
        board, _ = alpaca_eval.evaluate(
            model_outputs=str(written / "model_outputs.json"),
            reference_outputs=[{"instruction": one.text, "output": one.reference} for one in instructions()],
            annotators_config="./ours",  # a path: else it looks for the annotations in a folder of that name
            output_path=written,
            precomputed_leaderboard=str(written / "board.csv"),
            metric_kwargs={"glm_name": "length_controlled_minimal"},
            is_recompute_metrics_only=True,
            is_return_instead_of_print=True,
        )
        yield board.loc["M1"].to_dict()


def test_alpaca_eval_computes_our_win_rate_from_our_files(metrics: dict[str, Any]) -> None:
    """The win rate is the mean of the ten preferences: 5.1 / 10. Wins: 1, 0.7, 0.6, 0.9 and 0.8; one tie; so the
    discrete win rate is 5.5 / 10. The two without a valid answer count nowhere."""
    ours = figures({"win_rate": preferences(annotations())}, Resampling(resamples=10)) | alpaca_eval_metrics(
        annotations()
    )
    assert ours["win_rate"] == pytest.approx(0.51)
    assert ours["discrete_win_rate"] == pytest.approx(0.55)
    assert metrics["win_rate"] == pytest.approx(100 * ours["win_rate"])
    assert metrics["standard_error"] == pytest.approx(100 * ours["win_rate_standard_error"])
    assert metrics["discrete_win_rate"] == pytest.approx(100 * ours["discrete_win_rate"])
    assert metrics["n_total"] == ours["instructions_judged"] == 10
    assert (metrics["n_wins"], metrics["n_wins_base"], metrics["n_draws"]) == (5, 4, 1)


def test_alpaca_eval_computes_our_length_controlled_win_rate_from_our_files(metrics: dict[str, Any]) -> None:
    """Two of twelve have no valid answer. Lengths are characters, not bytes: the outputs are two bytes a character."""
    controlled = length_control(instructions(), outputs(), annotations())
    assert controlled
    ours = figures({"lc_win_rate": controlled.observed}, Resampling(resamples=10))
    assert metrics["length_controlled_winrate"] == pytest.approx(100 * ours["lc_win_rate"], abs=1e-4)


def test_alpaca_eval_writes_nothing_into_the_annotators_stage(metrics: dict[str, Any], written: Path) -> None:
    """It writes its weights to a folder named after the annotator, and follows an absolute path; the file is named
    after the reference."""
    assert metrics
    assert list((written / "package" / "weights" / file_name(ANNOTATOR)).rglob("baseline_org_reference.csv"))
    assert file_name("s3://bucket/models/ab") == "s3_bucket_models_ab"
    assert file_name("GPT-4 Turbo (1106)") == "GPT-4 Turbo (1106)"


def test_a_preference_of_two_is_for_the_model(written: Path) -> None:
    entries = json.loads((written / "annotations.json").read_text())
    assert [entry["preference"] for entry in entries[:5]] == [2, 1.1, 1.5, None, 1]
    assert [entry["index"] for entry in entries] == list(range(12))
    assert entries[0]["output_1"] == instructions()[0].reference and entries[0]["generator_2"] == "M1"


def test_the_outputs_are_a_set_that_can_be_annotated_again(written: Path) -> None:
    from alpaca_eval import utils

    frame = utils.load_or_convert_to_dataframe(written / "model_outputs.json")
    assert list(frame["instruction"]) == [one.text for one in instructions()]
    assert list(frame["output"]) == [one.text for one in outputs().values()]
    assert utils.get_generator_name(None, frame) == "M1"


def difficulty_file(folder: Path, text: str) -> Path:
    path = folder / "instruction_difficulty.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("first", ["index", ""])
def test_reads_the_difficulty_by_the_place_in_the_set(tmp_path: Path, first: str) -> None:
    """pandas writes an index with its name or without one."""
    path = difficulty_file(tmp_path, f"{first},instruction_difficulty\n0,0.5\n1,-1.25\n")
    assert read_difficulty(path) == {0: 0.5, 1: -1.25}


def test_reads_the_difficulty_out_of_the_gamed_annotations(tmp_path: Path) -> None:
    """df_gamed.csv has each instruction once a baseline."""
    rows = "brief,0,0.9,0.5\nbrief,1,0.2,-1.25\nverbose,0,0.4,0.5\nverbose,1,0.3,-1.25\n"
    path = difficulty_file(tmp_path, "model,index,preference,instruction_difficulty\n" + rows)
    assert read_difficulty(path) == {0: 0.5, 1: -1.25}


GAMED = "model,index,preference,std_delta_len,instruction_difficulty\n"
BASELINES = "brief,0,0.9,-1,0.5\nbrief,1,0.2,-2,-1.25\nverbose,0,0.4,1,0.5\nverbose,1,0.3,2,-1.25\n"


def test_the_gamed_baselines_come_back_in_the_order_of_their_file(tmp_path: Path) -> None:
    """By instruction when they are kept, by baseline when they are fitted: rows of preference, length, difficulty."""
    path = difficulty_file(tmp_path, GAMED + BASELINES)
    by_instruction = read_gamed(path)
    assert by_instruction == {0: [(0.9, -1.0), (0.4, 1.0)], 1: [(0.2, -2.0), (0.3, 2.0)]}
    rows = gamed_rows([0.5, -1.25], [by_instruction[0], by_instruction[1]])
    assert rows is not None
    assert rows.tolist() == [[0.9, -1, 0.5], [0.2, -2, -1.25], [0.4, 1, 0.5], [0.3, 2, -1.25]]


def test_difficulties_alone_bring_no_baselines(tmp_path: Path) -> None:
    assert read_gamed(difficulty_file(tmp_path, "index,instruction_difficulty\n0,0.5\n")) == {}
    assert gamed_rows([0.5], [[]]) is None


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("brief,0,1.9,-1,0.5\n", "line 2 .* preference 1.9, which is not between 0 and 1"),  # from 1 to 2
        ("brief,0,0.9,-1,0.5\nbrief,1,-0.1,-1,0.5\n", "line 3 .* preference -0.1"),
        ("brief,0,nan,-1,0.5\n", "line 2 .* preference nan"),
        ("brief,0,,-1,0.5\n", "line 2 .* holds no preference"),
        ("brief,0,0.9,inf,0.5\n", "line 2 .* std_delta_len inf"),
        ("brief,0,0.9,long,0.5\n", "line 2 .* holds no std_delta_len"),
    ],
)
def test_a_gamed_row_that_is_no_annotation_is_refused(tmp_path: Path, rows: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        read_gamed(difficulty_file(tmp_path, GAMED + rows))


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    path = difficulty_file(tmp_path, "\ufeffinstruction_difficulty,index\n0.5,0\n")
    for read in (read_difficulty, read_gamed):
        with pytest.raises(UserError, match="byte order mark"):
            read(path)


def test_an_instruction_that_one_baseline_did_not_answer_is_refused(tmp_path: Path) -> None:
    path = difficulty_file(tmp_path, GAMED + BASELINES + "brief,2,0.9,-1,0.5\n")
    with pytest.raises(UserError, match="instruction 2 by 1 of 2 baselines"):
        read_gamed(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no column"),
        ("index,difficulty\n0,1\n", "no column"),
        ("index,instruction_difficulty\n0,hard\n", "line 2"),
        ("index,instruction_difficulty\n0,1\nx,1\n", "line 3"),
        ("index,instruction_difficulty\n0\n", "line 2"),
        ("index,instruction_difficulty\n0,nan\n", "nan"),
        ("index,instruction_difficulty\n0,1\n0,2\n", "another difficulty"),
        ("index,instruction_difficulty\n", "no instruction"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        read_difficulty(difficulty_file(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "instruction_difficulty.csv"
    path.write_bytes(b"\xff\xfe\x00PAR1")
    with pytest.raises(UserError, match="no CSV"):
        read_difficulty(path)
