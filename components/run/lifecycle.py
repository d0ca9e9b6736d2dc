"""How a run begins, goes on in another Kubeflow run where one cannot hold it, and ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from components.core.context import RunContext, RunData, RunState, open_step, read_context
from components.core.course import FIRST_STEP, recorded
from components.core.errors import UserError
from components.core.journal import REPORT
from components.core.ledger import spent
from components.core.looking import looking
from components.core.page import count_table, write_page
from components.core.progress import say
from components.core.stage import read_manifest
from components.core.step import report_errors, step
from components.core.store import join, open_store
from components.core.store_check import check_store
from components.eft.settings import EftSettings, require_eft_replies
from components.evaluation.alpaca_eval.instructions import import_instructions
from components.evaluation.alpaca_eval.settings import InstructionsSettings
from components.evaluation.exact_answers.questions import import_questions
from components.evaluation.lm_eval.benchmarks import check_engine
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.evaluation.settings import EvaluationSettings
from components.gate.register import retry_unregistered
from components.kubernetes.removal import end_training
from components.kubernetes.settings import ClusterSettings
from components.pairs.asking import require_own_judge
from components.pairs.settings import PairsSettings
from components.registry.client import check_tracking
from components.registry.tracking import begin_run, end_run
from components.run.evaluation_texts import collect_evaluation_texts
from components.run.examples import examples
from components.run.html_report import write_report
from components.run.report import summarise
from components.seed_data.seed_data import make_seed_data
from components.seed_data.settings import SeedDataSettings
from components.serving.description import check_endpoint
from components.serving.engines.served_model import annotator_of, check_quantize, engine_of, judge_of

VARIABLES = {"store": ("SRLM_STORE",), "tracking_uri": ("SRLM_TRACKING_URI", "MLFLOW_TRACKING_URI")}


def prepare_run(context: RunContext, page: str) -> dict[str, Any]:
    """Check what the run needs, note what it does and where, import its data; `page` is the file that shows the data.

    Returns the run's state, without models, as a KFP parameter. Raises UserError where store, registry, engine or an
    endpoint cannot be used.
    """
    context = replace(context, store=place_of("store", context.store, FIRST_STEP))
    context = replace(context, tracking_uri=place_of("tracking_uri", context.tracking_uri, FIRST_STEP))
    with recorded(context.store, context.run, FIRST_STEP), step(FIRST_STEP):
        with spent("starting"):
            check_store(open_store(context.store))
            check_servers(context)
            context.write()
        with spent("registering"):
            check_tracking(context.tracking_uri)
            begin_run(context.tracking_uri, context.recipe["name"], context.run, context.recipe, context.uri)
        data = import_data(context)
        stages = {name: read_manifest(uri).counts for name, uri in asdict(data).items() if uri}
        write_page(page, f"Data of {context.run}", *(count_table(name, counts) for name, counts in stages.items()))
        return RunState(context.uri, data).to_dict()


def check_servers(context: RunContext) -> None:
    """Raises UserError where the engine cannot serve the run's models, or an endpoint does not answer."""
    engine_of(context).check()
    check_quantize(context)
    require_own_judge(context)
    check_engine(context.optional("benchmarks", BenchmarksSettings), context.engine)
    for address in filter(None, (judge_of(context), annotator_of(context))):
        check_endpoint(address)


def place_of(parameter: str, given: str, step_name: str) -> str:
    """What a parameter of the pipeline says, else the chart's config map, so that nobody has to fill it in; ends the
    step with a message where neither does."""
    with report_errors(step_name):
        found = given or next(filter(None, map(os.environ.get, VARIABLES[parameter])), "")
        if not found:
            raise UserError(
                f"no {parameter} is named, and the namespace's config map has no {VARIABLES[parameter][0]}",
                f"Fill in the parameter {parameter}, or set it in the chart's values (config).",
            )
    return found


def import_data(context: RunContext) -> RunData:
    """Instructions and questions where the recipe has them, and seed data that repeat none of them.

    Raises UserError where the seed data cannot give as many EFT examples as the recipe insists on.
    """
    root = context.store
    seeds = context.section("data", SeedDataSettings)
    instructions = questions = checked = ""
    if wanted := context.optional("instructions", InstructionsSettings):
        instructions = context.make("instructions", lambda: import_instructions(root, wanted))
    if exact := context.section("evaluation", EvaluationSettings).exact_answers:
        which = exact.only_questions()  # how they are asked is no part of it
        questions = context.make("questions", lambda: import_questions(root, which))
    if checking := context.section("pairs", PairsSettings).exact_answers:
        known = checking.only_questions()
        checked = context.make("checked-questions", lambda: import_questions(root, known))
    texts = context.make("evaluation-texts", lambda: collect_evaluation_texts(context, instructions, questions))
    seed_data = context.make("seed-data", lambda: make_seed_data(root, seeds, texts))
    if not looking():
        replies = read_manifest(seed_data).counts.kept["eft replies"]
        require_eft_replies(context.section("eft", EftSettings), replies)
    return RunData(seed_data, instructions, questions, evaluation_texts=texts, checked=checked)


def hand_over_run(run: str, part: int) -> None:
    """Submit the next part; `run` is the run's folder. Without Kubeflow whoever executes this part goes on by itself.

    By the command of this image: components know nothing of pipelines. Raises UserError where it fails.
    """
    with open_step(run, f"start part {part}") as context:
        if not os.environ.get("KFP_POD_NAME"):
            say(f"part {part} of {context.run} goes on with the rounds that are left")
            return
        command = [sys.executable, "-m", "pipelines.cli.main", "continue", run, "--part", str(part)]
        if subprocess.run(command).returncode:
            raise UserError(
                f"part {part} of the run {context.run} was not started",
                f"Its reason stands above. What is finished is kept: start it with srlm continue {run} --part {part}.",
            )


def resume_run(state: dict[str, Any], name: str) -> dict[str, Any]:
    """The run's state after the phase of the model `name`. Raises UserError where no part of it got that far."""
    with open_step(state["run"], f"find {name.upper()}") as context:
        return context.state(name) | {"data": state["data"]}


def finish_run(store: str, run: str, page: str) -> None:
    """Whatever happened: stop servers and training, register what MLflow did not take, write summary and report.

    Raises UserError where the run's first step did not get as far as to say what the run is.
    """
    store = place_of("store", store, "report")
    with recorded(store, run, "report"), step("report"):
        context = read_context(join(store, "runs", run))
        with spent("starting"):  # and stopping
            engine_of(context).stop(run)
            end_training(run, context.section("cluster", ClusterSettings).patience)
        with spent("registering"):
            retry_unregistered(store, context.tracking_uri, run)
        summary = summarise(store, run)
        with spent("reporting"):
            report = write_report(context, summary)
            Path(page).write_text(report)
        with spent("registering"):
            show_in_mlflow(context, summary, report)


def show_in_mlflow(context: RunContext, summary: dict[str, Any], report: str) -> None:
    """The run's report, summary and recipe in MLflow, and examples of what its models wrote and how they judged it."""
    uris = {stage["name"]: stage["uri"] for stage in summary["stages"]}
    samples = {}
    for name in [name.partition("/")[0] for name in uris if name.endswith("/judging")]:
        with suppress(UserError):  # `srlm gc` may have taken what they are drawn from
            shown = examples(uris[f"{name}/sampling"], uris[f"{name}/judging"])
            samples[name] = [asdict(example) for example in shown]
    files = {
        REPORT: report,
        "summary.json": json.dumps(summary, indent=1),
        "recipe.yaml": yaml.safe_dump(context.recipe, sort_keys=False),
        "samples.json": json.dumps(samples, indent=1, ensure_ascii=False),
    }
    end_run(context.tracking_uri, context.recipe["name"], context.run, context.recipe, context.uri, files)
