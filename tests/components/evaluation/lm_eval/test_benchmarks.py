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
from components.evaluation.lm_eval.benchmarks import run_benchmarks
from components.evaluation.lm_eval.settings import BenchmarksSettings
from tests.helpers.scripted_endpoint import Script, says

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
