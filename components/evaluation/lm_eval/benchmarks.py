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
from components.core.records import Counts, Manifest
from components.core.stage import Stage, parent
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.serving.completions import Endpoint, endpoint_url

if TYPE_CHECKING:
    from lm_eval.api.model import LM

INSTALL = "Install it: pip install 'self-rewarding-pipelines[benchmarks]'."


def run_benchmarks(root: str, settings: BenchmarksSettings, model: str, endpoint: Endpoint) -> Manifest:
    """The benchmarks stage of the model that is served at `endpoint`: figures, and the harness's own `results.json`.

    Raises UserError where the harness is not installed, does not know a task, or cannot get its data.
    """
    stage = Stage(root, "benchmarks", settings, {"model": parent(model)})
    if stage.manifest:
        return stage.manifest
    results = _evaluate(stage, settings, model, endpoint)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "results.json").write_text(json.dumps(results, indent=1, default=str))
        return stage.publish(count_questions(results), {}, folder=Path(folder), metrics=benchmark_metrics(results))


def benchmark_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """`benchmark_<task>_<metric>`, each with the harness's standard error where it gives one."""
    return {
        f"benchmark_{task}_{name.replace(',', '_').removesuffix('_none')}": float(value)
        for task, figures in results["results"].items()
        for name, value in figures.items()
        if "," in name and isinstance(value, int | float) and not math.isnan(value)
    }


def count_questions(results: Mapping[str, Any]) -> Counts:
    """Questions that were asked by task, and those that the setting `limit` left out."""
    samples = results.get("n-samples", {})
    left_out = {task: n["original"] - n["effective"] for task, n in samples.items() if n["original"] > n["effective"]}
    return Counts(
        kept={f"{task} questions": n["effective"] for task, n in samples.items()},
        dropped={f"{task} question: beyond the limit": n for task, n in left_out.items()},
    )


def _evaluate(stage: Stage, settings: BenchmarksSettings, model: str, endpoint: Endpoint) -> dict[str, Any]:
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
    try:
        return dict(
            simple_evaluate(
                model=_served_model(stage, settings, model, endpoint),
                tasks=settings.tasks,
                task_manager=tasks,
                num_fewshot=settings.few_shot,
                limit=settings.limit,
                apply_chat_template=settings.api == "chat",
                log_samples=False,
                random_seed=settings.seed,
                numpy_random_seed=settings.seed,
                torch_random_seed=None,
                fewshot_random_seed=settings.seed,
            )
        )
    except OSError as error:  # the harness takes its questions from the hub
        raise UserError(
            f"the lm-eval harness cannot get the data of {', '.join(settings.tasks)} ({error})",
            "Give the step access to the hub, or a filled cache (HF_HOME), or leave benchmarks out of the recipe.",
        ) from error


def _served_model(stage: Stage, settings: BenchmarksSettings, model: str, endpoint: Endpoint) -> LM:
    if settings.api == "chat":
        from components.evaluation.lm_eval.chat_model import ChatModel

        return ChatModel(stage, settings, endpoint)
    from lm_eval.api.registry import get_model

    arguments = {
        "model": model,
        "base_url": f"{endpoint_url(endpoint).rstrip('/')}/v1/completions",
        "tokenizer": str(model_folder(model)),
        "num_concurrent": settings.concurrency,
        "max_gen_toks": settings.max_tokens,
        "seed": settings.seed,
    }
    served: LM = get_model("local-completions").create_from_arg_obj(arguments)
    return served
