"""The first step of a run: what it notes of the run, and which data it imports."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from components.core import store as store_module
from components.core.context import RunContext, RunData, RunState, open_step, read_context
from components.core.errors import UserError
from components.core.records import Example, Prompt, SeedPrompt
from components.core.stage import read_manifest, read_records
from components.evaluation.lm_eval.benchmarks import check_engine
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.prompts.prompts import make_round_prompts
from components.run.lifecycle import check_servers, import_data, place_of, prepare_run
from components.run.report import summarise
from components.run.tables import contamination_table
from components.serving.engines.processes import EmbeddedEngine
from tests.helpers.scripted_s3 import BUCKET, KEY, garage_like, served

DATA = {"messages": "builtin:demo", "ift": 4, "eft_prompts": 2, "eval_prompts": 2, "seed": 1}


def context(store: Path, **recipe: Any) -> RunContext:
    where = dict.fromkeys(("endpoint", "judge_endpoint", "annotator_endpoint"), "")
    images = {"worker_image": "w", "trainer_image": "t", "engine_image": ""}
    common = {"name": "toy", "data": DATA, "evaluation": {}, "eft": {"min_examples": 1}}
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


@pytest.mark.parametrize("engine", ["embedded", "tgi", "transformers"])
def test_benchmarks_that_the_engine_cannot_serve_are_refused_before_anything_is_made(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come after the first training: days later on a 70B model."""
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    wanted = replace(context(tmp_path, benchmarks={"api": "completions", "tasks": ["arc_easy"]}), engine=engine)
    monkeypatch.setattr("components.run.lifecycle.engine_of", lambda context: EmbeddedEngine())
    with pytest.raises(SystemExit):
        prepare_run(wanted, str(tmp_path / "page.html"))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match=f"the engine {engine} gives none"):
        check_engine(BenchmarksSettings(api="completions"), engine)
    check_engine(BenchmarksSettings(api="completions"), "vllm")
    check_engine(BenchmarksSettings(), engine)


@pytest.mark.parametrize(
    ("engine", "serving", "problem"),
    [
        ("embedded", {"quantize": "fp8"}, "does not know serving.quantize 'fp8'"),
        ("transformers", {"quantize": "int8", "pod": {"gpus": 1}}, "a GPU would serve"),
        ("embedded", {"quantize": "int8", "dtype": "bfloat16"}, "serving.dtype is bfloat16"),
    ],
)
def test_a_quantization_that_our_server_does_not_have_is_refused_before_anything_is_made(
    tmp_path: Path, engine: str, serving: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was ignored without a word. Another engine's names are its own."""
    monkeypatch.setattr("components.run.lifecycle.engine_of", lambda context: EmbeddedEngine())
    wanted = context(tmp_path, serving=serving)
    with pytest.raises(UserError, match=problem):
        check_servers(replace(wanted, engine=engine))
    check_servers(replace(wanted, engine="vllm"))
    check_servers(replace(context(tmp_path, serving={"quantize": "int8"}), engine=engine))


def test_a_store_that_keeps_no_first_writer_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two runs that make the same stage at once each would use its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    does = garage_like()
    with served(does) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        store_module._s3.cache_clear()
        with pytest.raises(SystemExit):
            prepare_run(replace(context(tmp_path), store=f"s3://{BUCKET}/runs"), str(tmp_path / "page.html"))
    store_module._s3.cache_clear()
    assert "Use a store that has conditional puts" in capsys.readouterr().err
    assert not does.objects
    assert all("/probe-" in one for one in does.requests if "runs/" in one and "context.json" not in one)


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


def test_what_repeats_an_evaluation_text_is_not_trained_on_and_the_report_says_so(tmp_path: Path) -> None:
    """Seed data, in which one prompt stands among AlpacaEval's, one among the exact questions, one in MT-Bench.

    Then a file of prompts with one that repeats AlpacaEval and one that repeats a held-out prompt.
    """
    rows = []
    for n in range(12):
        words = " ".join(f"word{n}{letter}" for letter in "abcdef")
        common = {"lang": "en", "text": words}
        rows.append(common | {"message_id": f"p{n}", "role": "prompter"})
        rows += [
            common | {"message_id": f"p{n}-{r}", "parent_id": f"p{n}", "role": "assistant", "rank": r} for r in (0, 1)
        ]
    messages = tmp_path / "messages.jsonl"
    messages.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"messages": str(messages), "ift": 3, "eval_prompts": 2}
    plain = import_data(context(tmp_path / "plain", data=data))
    seeds = plain.seed_data
    first, second, third = [example.prompt for example in read_records(seeds, "ift", Example)]
    [held_out, _] = [one.text for one in read_records(seeds, "eval", SeedPrompt)]

    alpaca = [{"instruction": f"{first}!", "output": "o"}, {"instruction": "Name four rivers", "output": "o"}]
    (tmp_path / "alpaca.json").write_text(json.dumps(alpaca))
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": second.upper(), "answer": "5"}) + "\n")
    (tmp_path / "mt" / "mt_bench" / "reference_answer").mkdir(parents=True)
    question = {"question_id": 1, "category": "math", "turns": ["unseen", f"so: {third}"]}
    (tmp_path / "mt" / "mt_bench" / "question.jsonl").write_text(json.dumps(question) + "\n")
    (tmp_path / "mt" / "mt_bench" / "reference_answer" / "gpt-4.jsonl").write_text("")
    (tmp_path / "mt" / "judge_prompts.jsonl").write_text("")
    (tmp_path / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": text}) + "\n" for text in (f"{first} please", held_out, "Name three trees"))
    )
    measured = context(
        tmp_path / "store",
        data=data,
        instructions={"reference": str(tmp_path / "alpaca.json")},
        evaluation={"exact_answers": {"questions": str(tmp_path / "q.jsonl")}},
        mt_bench={"questions": str(tmp_path / "mt")},
        prompts={"source": "file", "file": str(tmp_path / "prompts.jsonl"), "count": 1},
    )
    made = import_data(measured)
    trained = [example.prompt for example in read_records(made.seed_data, "ift", Example)]
    trained += [one.text for one in read_records(made.seed_data, "eft", SeedPrompt)]
    assert len(trained) == 12 - 2 - 3
    assert not {first, second, third} & set(trained)
    writer: Any = None
    prompts = make_round_prompts(measured, 1, asdict(made), [], writer)
    assert [one.text for one in read_records(prompts, "prompts", Prompt)] == ["Name three trees"]
    summary = summarise(measured.store, measured.run)
    table = contamination_table(summary)
    assert table is not None
    assert table.columns == ("evaluation set", "texts", "seed data", "new prompts")
    assert sorted(table.rows) == [
        ("AlpacaEval's instructions", "2", "1", "1"),
        ("MT-Bench's questions", "2", "1", "0"),
        ("exact questions", "1", "1", "0"),
        ("held-out prompts", "2", "0", "1"),
    ]


def test_another_threshold_or_another_set_makes_other_seed_data(tmp_path: Path) -> None:
    """The key of the seed data follows what they were compared with, though nothing was dropped."""
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "2 + 3?", "answer": "5"}) + "\n")
    plain, stricter = (import_data(context(tmp_path, prompts={"novelty": n})).seed_data for n in (0.7, 0.5))
    exact = {"exact_answers": {"questions": f"{tmp_path}/q.jsonl"}}
    assert len({plain, stricter, import_data(context(tmp_path, evaluation=exact)).seed_data}) == 3
    assert import_data(context(tmp_path)).seed_data == plain


def test_too_few_replies_for_eft_are_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two EFT prompts with at most 4 replies each."""
    monkeypatch.setattr("components.run.lifecycle.engine_of", lambda context: EmbeddedEngine())
    monkeypatch.setattr("components.run.lifecycle.check_tracking", lambda uri: None)
    page = str(tmp_path / "page.html")
    with pytest.raises(SystemExit):
        prepare_run(context(tmp_path, eft={"min_examples": 9}), page)
    prepare_run(context(tmp_path, eft={"min_examples": 9, "source": "file", "file": "f"}), page)


def test_what_nobody_fills_in_the_chart_s_config_map_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `store` and `tracking_uri`, which stood last and empty in Kubeflow's form (issue 14)."""
    monkeypatch.setenv("SRLM_STORE", "s3://chart/runs")
    for variable in ("SRLM_TRACKING_URI", "MLFLOW_TRACKING_URI"):  # MLflow sets its own where it is told of a server
        monkeypatch.delenv(variable, raising=False)
    assert place_of("store", "", "report") == "s3://chart/runs"
    assert place_of("store", "s3://mine", "report") == "s3://mine"
    with pytest.raises(SystemExit, match="2"):
        place_of("tracking_uri", "", "report")
    assert "Fill in the parameter tracking_uri" in capsys.readouterr().err
