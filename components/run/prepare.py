"""The first step of a run: what it needs is checked, what it does is noted, its data are imported."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from components.core.context import RunContext, RunData, RunState
from components.core.page import count_table, write_page
from components.core.stage import read_manifest
from components.core.step import step
from components.evaluation.alpaca_eval.instructions import import_instructions
from components.evaluation.alpaca_eval.settings import InstructionsSettings
from components.evaluation.exact_answers.questions import import_questions
from components.evaluation.exact_answers.settings import QuestionsSettings
from components.registry.client import check_tracking
from components.seed_data.seed_data import make_seed_data
from components.seed_data.settings import SeedDataSettings
from components.serving.client import endpoint_info
from components.serving.engines.served_model import engine_of


def prepare_run(context: RunContext, page: str) -> dict[str, Any]:
    """Returns the run's state, without models, as a KFP parameter; `page` is the file that shows what the data are.

    Raises UserError where store, registry, engine or an endpoint cannot be used.
    """
    with step("prepare the run"):
        engine_of(context).check()
        for url in filter(None, (context.judge_endpoint, context.annotator_endpoint)):
            endpoint_info(url)
        context.write()
        check_tracking(context.tracking_uri)
        data = import_data(context)
        stages = {name: read_manifest(uri).counts for name, uri in asdict(data).items() if uri}
        write_page(page, f"Data of {context.run}", *(count_table(name, counts) for name, counts in stages.items()))
        return RunState(context.uri, data).to_dict()


def import_data(context: RunContext) -> RunData:
    """Seed data; instructions and questions where the recipe has them."""
    root = context.store
    seeds = context.section("data", SeedDataSettings)
    seed_data = context.make("seed-data", lambda: make_seed_data(root, seeds))
    instructions = questions = ""
    if wanted := context.optional("instructions", InstructionsSettings):
        instructions = context.make("instructions", lambda: import_instructions(root, wanted))
    if exact := context.recipe["evaluation"].get("exact_answers"):
        asked = QuestionsSettings(**{name: exact[name] for name in QuestionsSettings.model_fields if name in exact})
        questions = context.make("questions", lambda: import_questions(root, asked))
    return RunData(seed_data, instructions, questions)
