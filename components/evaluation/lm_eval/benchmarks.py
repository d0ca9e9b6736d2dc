"""The alignment tax: what a model has forgotten of ARC, GSM8K, MMLU, ..., measured by the lm-eval harness."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.proxies import ask_directly
from components.core.records import Counts, Manifest
from components.core.stage import Stage, parent
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.metrics.statistics import BENCHMARK
from components.serving.completions import Endpoint, endpoint_address
from components.serving.description import endpoint_info

if TYPE_CHECKING:
    from components.evaluation.lm_eval.chat_model import ChatModel, Questions
    from components.evaluation.lm_eval.completions_model import CompletionsModel

    LeftOut = dict[str, Questions]  # by reason

CANNOT_SCORE = ("embedded", "transformers", "tgi")  # engines whose /v1/completions echoes no log-probabilities
HARNESS_CONTEXT = 2048  # tokens, its own default, where the server does not say how many it holds
TOO_LONG, UNANSWERED = "too long for the model", "not answered"
INSTALL = "Install it: pip install 'self-rewarding-pipelines[benchmarks]'."


def check_engine(settings: BenchmarksSettings | None, engine: str) -> None:
    """Raises UserError before a run begins where the engine's servers cannot score given texts."""
    if settings and settings.api == "completions" and engine in CANNOT_SCORE:
        raise UserError(
            f"benchmarks.api: completions wants log-probabilities of given texts, and the engine {engine} gives none",
            "Serve with vllm, or set benchmarks.api: chat and name tasks that generate in benchmarks.tasks.",
        )


def run_benchmarks(root: str, settings: BenchmarksSettings, model: str, endpoint: Endpoint) -> Manifest:
    """The benchmarks stage of the model that is served at `endpoint`: figures, and the harness's own `results.json`.

    Raises UserError where the harness is not installed, does not know a task, or cannot get its data.
    """
    stage = Stage(root, "benchmarks", settings, {"model": parent(model)})
    if stage.manifest:
        return stage.manifest
    results, left_out = _evaluate(stage, settings, model, endpoint)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "results.json").write_text(json.dumps(results, indent=1, default=str))
        return stage.publish(
            count_questions(results, left_out),
            {},
            folder=Path(folder),
            metrics=benchmark_metrics(results),
        )


def benchmark_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """`benchmark_<task>_<metric>`, each with the harness's standard error where it gives one, and its questions
    (`_items`)."""
    metrics: dict[str, float] = {}
    for task, figures in results["results"].items():
        for name, value in figures.items():
            if "," in name and isinstance(value, int | float) and math.isfinite(value):
                metric = f"{BENCHMARK}{task}_{name.replace(',', '_').removesuffix('_none')}"
                metrics[metric] = float(value)
                if "_stderr," not in name:
                    metrics[f"{metric}_items"] = float(_questions(results, task))
    return metrics


def count_questions(results: Mapping[str, Any], left_out: LeftOut) -> Counts:
    """Questions that were asked by task, and those that the setting `limit` left out, or `left_out` by its reason."""
    samples = results.get("n-samples", {})
    counted = {(task, reason): len(gone) for reason, tasks in left_out.items() for task, gone in tasks.items() if gone}
    for task, n in samples.items():
        beyond = n["original"] - n["effective"] - sum(number for (one, _), number in counted.items() if one == task)
        counted |= {(task, "beyond the limit"): beyond} if beyond > 0 else {}
    dropped = {f"{task} question: {reason}": number for (task, reason), number in counted.items()}
    return Counts(kept={f"{task} questions": n["effective"] for task, n in samples.items()}, dropped=dropped)


def _questions(results: Mapping[str, Any], task: str) -> int:
    """Of a task, or of all tasks in a group."""
    if task in (samples := results.get("n-samples", {})):
        return int(samples[task]["effective"])
    return sum(_questions(results, one) for one in results.get("group_subtasks", {}).get(task, ()) if one != task)


def _evaluate(
    stage: Stage, settings: BenchmarksSettings, model: str, endpoint: Endpoint
) -> tuple[dict[str, Any], LeftOut]:
    """The harness's results, and the questions of each task that are left out of them, by reason.

    Which ones those are shows when they are asked: then the harness goes over the others, whose answers are kept.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(f"benchmarks need the lm-eval harness ({error})", INSTALL) from error
    tasks = TaskManager(include_path=settings.include or None)
    if unknown := [task for task in settings.tasks if not tasks.match_tasks([task])]:
        raise UserError(
            f"the lm-eval harness knows no task {', '.join(unknown)}",
            "lm-eval ls tasks lists them; a folder with task files of your own goes into benchmarks.include.",
        )
    served = _served_model(stage, settings, model, endpoint)
    asked: dict[str, list[int]] | None = None  # all, up to the limit
    left_out: LeftOut = {TOO_LONG: {}, UNANSWERED: {}}
    while True:
        try:
            results = simple_evaluate(
                model=served,
                tasks=settings.tasks,
                task_manager=tasks,
                num_fewshot=settings.few_shot,
                limit=settings.limit if asked is None else None,
                samples=asked,
                apply_chat_template=settings.api == "chat",
                log_samples=False,
                random_seed=settings.seed,
                numpy_random_seed=settings.seed,
                torch_random_seed=None,
                fewshot_random_seed=settings.seed,
            )
        except OSError as error:  # the harness takes its questions from the hub
            raise UserError(
                f"the lm-eval harness cannot get the data of {', '.join(settings.tasks)} ({error})",
                "Give the step access to the hub, or a filled cache (HF_HOME), or leave benchmarks out of the recipe.",
            ) from error
        if not served.too_long and not served.unanswered:
            return dict(results), left_out
        asked = _those_that_fit(results, asked, {TOO_LONG: served.too_long, UNANSWERED: served.unanswered}, left_out)
        served.too_long, served.unanswered = {}, {}


def _those_that_fit(
    results: Mapping[str, Any], asked: Mapping[str, list[int]] | None, missing: LeftOut, left_out: LeftOut
) -> dict[str, list[int]]:
    """The numbers of the questions by task without those that are `missing`, which are added to `left_out`.

    `missing` counts among those that were asked. Raises UserError where nothing is left of a task.
    """
    fit: dict[str, list[int]] = {}
    for task, number in results["n-samples"].items():
        before = asked[task] if asked else list(range(number["effective"]))
        for reason, tasks in missing.items():
            left_out[reason].setdefault(task, set()).update(before[place] for place in tasks.get(task, ()))
        fit[task] = [number for number in before if not any(number in gone[task] for gone in left_out.values())]
        if not fit[task]:
            raise UserError(
                f"all questions of {task} are too long for the model's context, or were not answered",
                "Raise serving.max_total_tokens, lower benchmarks.few_shot, or leave the task out.",
            )
    return fit


def _served_model(
    stage: Stage, settings: BenchmarksSettings, model: str, endpoint: Endpoint
) -> ChatModel | CompletionsModel:
    if settings.api == "chat":
        from components.evaluation.lm_eval.chat_model import ChatModel

        return ChatModel(stage, settings, endpoint)
    from components.evaluation.lm_eval.completions_model import CompletionsModel

    address = endpoint_address(endpoint)
    if address.is_own:  # the harness has a client of its own
        ask_directly(address.url)
    return CompletionsModel(
        key=address.key(),
        model=address.model or model,
        base_url=address.route("/v1/completions"),
        tokenizer=str(model_folder(model)),
        num_concurrent=settings.concurrency,
        max_gen_toks=settings.max_tokens,
        max_length=endpoint_info(address).get("max_total_tokens") or HARNESS_CONTEXT,
        seed=settings.seed,
    )
