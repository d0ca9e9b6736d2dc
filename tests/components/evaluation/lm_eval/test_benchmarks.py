"""The lm-eval harness over our client, on a task file of our own: its data lie beside it, so no hub is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.records import Counts, Manifest
from components.core.settings import Settings
from components.core.stage import Stage
from components.core.store import join
from components.evaluation.lm_eval.benchmarks import benchmark_metrics, run_benchmarks
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.metrics.observations import read_measured
from tests.helpers.scripted_endpoint import Script, said, says

pytestmark = pytest.mark.slow  # the harness looks through all its tasks

TASK = """
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {output_type}
doc_to_text: "{{{{question}}}} ="
doc_to_target: {target}
{more}
"""
GENERATE = """
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
CHOOSE = """
doc_to_choice: ["1", "2"]
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture(scope="module", autouse=True)
def indexed_once() -> Iterator[None]:
    """The harness's own tasks, some thousand files, are looked through by the first test alone; later paths win."""
    index = pytest.importorskip("lm_eval.tasks._index").TaskIndex
    found: dict[Any, dict[str, Any]] = {}
    real = index.build

    def build(paths: list[Path], **named: Any) -> dict[str, Any]:
        shipped, *own = paths
        if shipped not in found:
            found[shipped] = real([shipped], **named)
        return {**found[shipped], **real(own, **named)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "build", staticmethod(build))
        yield


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with the tasks `sums` (generates) and `choices` (scores given texts): four questions."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": f"{n} + {n}", "answer": str(2 * n)} for n in (1, 2, 3, 4)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"data": folder / "data.jsonl"}
    (folder / "sums.yaml").write_text(
        TASK.format(output_type="generate_until", target='"{{answer}}"', more=GENERATE, **task)
    )
    choices = TASK.format(output_type="multiple_choice", target=0, more=CHOOSE, **task)
    (folder / "choices.yaml").write_text(choices.replace("task: sums", "task: choices"))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A published stage: the model as far as its key is concerned."""
    stage = Stage(str(tmp_path / "store"), "base_model", Settings(), {})
    return join(str(tmp_path / "store"), stage.publish(Counts()).stage, stage.key)


def right_below_three(prompt: str) -> str:
    """Right for 1 + 1 and 2 + 2, wrong for the others; more lines than asked for."""
    n = int(prompt.split()[0])
    return f"{2 * n if n < 3 else 0}\nand so on"


def run(tasks: Path, model: str, url: str, task: str = "sums", **settings: object) -> Manifest:
    root = model.split("/base_model/")[0]
    return run_benchmarks(root, BenchmarksSettings(tasks=[task], include=str(tasks), **settings), model, url)


def test_metrics_and_standard_errors_are_those_of_the_harness(
    tasks: Path, model: str, serve: Callable[[Script], str]
) -> None:
    """Two of four are right: 0.5. Its standard error is sqrt(0.25 / 3) = 0.2887 (sample variance over n - 1)."""
    manifest = run(tasks, model, serve(says(right_below_three)))
    assert manifest.metrics["benchmark_sums_exact_match"] == 0.5
    assert manifest.metrics["benchmark_sums_exact_match_stderr"] == pytest.approx(0.28867, abs=1e-4)
    assert manifest.counts.kept == {"sums questions": 4}
    assert [name.rpartition("/")[2] for name in manifest.files] == ["results.json"]


def refuses(*too_long: int) -> Script:
    """A model whose context does not hold the questions of these numbers."""

    def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt = body["messages"][-1]["content"]
        if int(prompt.split()[0]) in too_long:
            return 422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 9", "error_type": "validation"}
        return said(right_below_three(prompt))

    return Script(answer)


def test_a_question_that_is_too_long_is_counted_and_not_wrong(
    tasks: Path, model: str, serve: Callable[[Script], str]
) -> None:
    """2 + 2 and 3 + 3 are too long: 1 + 1 is right and 4 + 4 wrong, 1 of 2 and not 1 of 4; nothing is asked twice."""
    script = refuses(2, 3)
    manifest = run(tasks, model, serve(script))
    assert manifest.metrics["benchmark_sums_exact_match"] == 0.5
    assert manifest.metrics["benchmark_sums_exact_match_stderr"] == pytest.approx(0.5)  # sqrt(0.25 / 1)
    assert manifest.counts.kept == {"sums questions": 2}
    assert manifest.counts.dropped == {"sums question: too long for the model": 2}
    assert len(script.bodies) == 4


def test_what_is_too_long_and_what_is_beyond_the_limit_is_counted_apart(
    tasks: Path, model: str, serve: Callable[[Script], str]
) -> None:
    manifest = run(tasks, model, serve(refuses(1)), limit=3)
    assert manifest.metrics["benchmark_sums_exact_match"] == 0.5  # 2 + 2 of 2 + 2 and 3 + 3
    assert manifest.counts.kept == {"sums questions": 2}
    assert manifest.counts.dropped == {
        "sums question: too long for the model": 1,
        "sums question: beyond the limit": 1,
    }


def test_a_task_of_which_nothing_fits_is_named(tasks: Path, model: str, serve: Callable[[Script], str]) -> None:
    with pytest.raises(UserError, match="all questions of sums are too long"):
        run(tasks, model, serve(refuses(1, 2, 3, 4)))


def test_the_gate_gets_figures_with_their_standard_errors(
    tasks: Path, model: str, serve: Callable[[Script], str]
) -> None:
    """One item a figure, named by how it was measured: with another limit it is another item."""
    url = serve(says(right_below_three))
    root = model.split("/base_model/")[0]
    measured = [
        read_measured([join(root, "benchmarks", made.key)])
        for made in (run(tasks, model, url), run(tasks, model, url, concurrency=3), run(tasks, model, url, limit=3))
    ]
    assert set(measured[0]) == {"benchmark_sums_exact_match"}
    values = [one["benchmark_sums_exact_match"] for one in measured]
    assert list(values[0].values()) == [(0.5, pytest.approx(0.28867, abs=1e-4), 4.0)]
    assert values[0] == values[1]
    assert not values[0].keys() & values[2].keys()


def test_a_groups_questions_are_those_of_its_tasks() -> None:
    """Two tasks of 10 and 20 questions; "N/A" is no standard error, and nan no figure."""
    results = {
        "results": {
            "group": {"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": "group"},
            "one": {"acc,strict": 0.4, "acc_stderr,strict": "N/A", "acc_norm,none": float("nan")},
        },
        "n-samples": {"one": {"original": 10, "effective": 10}, "two": {"original": 30, "effective": 20}},
        "group_subtasks": {"group": ["one", "two"]},
    }
    assert benchmark_metrics(results) == {
        "benchmark_group_acc": 0.5,
        "benchmark_group_acc_stderr": 0.1,
        "benchmark_group_acc_items": 30,
        "benchmark_one_acc_strict": 0.4,
        "benchmark_one_acc_strict_items": 10,
    }


def test_questions_beyond_the_limit_are_counted_as_dropped(
    tasks: Path, model: str, serve: Callable[[Script], str]
) -> None:
    manifest = run(tasks, model, serve(says(right_below_three)), limit=3)
    assert manifest.counts.kept == {"sums questions": 3}
    assert manifest.counts.dropped == {"sums question: beyond the limit": 1}
    assert manifest.metrics["benchmark_sums_exact_match"] == pytest.approx(2 / 3)


def test_a_finished_stage_asks_nobody(tasks: Path, model: str, serve: Callable[[Script], str]) -> None:
    first = run(tasks, model, serve(says(right_below_three)))
    again = run(tasks, model, "http://127.0.0.1:9")
    assert again == first


def test_the_served_model_is_asked_greedily_with_the_task_s_stop(
    tasks: Path, model: str, serve: Callable[[Script], str]
) -> None:
    script = says(right_below_three)
    run(tasks, model, serve(script))
    assert {body["temperature"] for body in script.bodies} == {0.0}
    assert {body["max_tokens"] for body in script.bodies} == {8}
    assert all(body["stop"] == ["\n"] for body in script.bodies)
    assert sorted(body["messages"][-1]["content"] for body in script.bodies) == [f"{n} + {n} =" for n in (1, 2, 3, 4)]


def test_a_task_that_scores_texts_is_refused_by_a_chat_endpoint(tasks: Path, model: str) -> None:
    with pytest.raises(UserError, match=r"choices scores given texts.*benchmarks\.api: completions"):
        run(tasks, model, "http://127.0.0.1:9", task="choices")


def test_an_unknown_task_is_named(tasks: Path, model: str) -> None:
    with pytest.raises(UserError, match="knows no task summs"):
        run(tasks, model, "http://127.0.0.1:9", task="summs")


def test_data_that_cannot_be_fetched_are_one_message(tasks: Path, model: str) -> None:
    (tasks / "data.jsonl").unlink()
    with pytest.raises(UserError, match="cannot get the data of sums"):
        run(tasks, model, "http://127.0.0.1:9")
