"""All texts that the models of a run are measured with, beside the held-out prompts of the seed data itself."""

from __future__ import annotations

from collections import Counter

from components.core.context import RunContext
from components.core.records import Counts, EvaluationText, Instruction, Manifest, Observation, Parent, Question
from components.core.settings import Settings
from components.core.stage import Stage, parent, read_records
from components.evaluation.mt_bench.questions import file_parent, find_files, read_questions
from components.evaluation.mt_bench.settings import MtBenchSettings
from components.prompts.settings import PromptsSettings
from components.seed_data.contamination import NOVELTY

ALPACA_EVAL, MT_BENCH, EXACT = "AlpacaEval's instructions", "MT-Bench's questions", "exact questions"


class EvaluationTextsSettings(Settings):
    """Made of the recipe's other sections."""

    novelty: float


def collect_evaluation_texts(context: RunContext, instructions: str, questions: str) -> Manifest:
    """The stage: records "texts" (EvaluationText), and with them "limits", above which ROUGE-L a text is too close.

    `instructions` and `questions` are their stages' URIs, "" for none. Raises UserError where MT-Bench is to be
    measured and its questions are missing.
    """
    settings = EvaluationTextsSettings(novelty=context.section("prompts", PromptsSettings).novelty)
    inputs: dict[str, Parent] = {}
    inputs |= {"instructions": parent(instructions)} if instructions else {}
    inputs |= {"questions": parent(questions)} if questions else {}
    mt_bench = context.optional("mt_bench", MtBenchSettings)
    path = find_files(mt_bench.questions, mt_bench.references).questions if mt_bench else None
    inputs |= {"mt_bench": file_parent(path)} if path else {}
    stage = Stage(context.store, "evaluation_texts", settings, inputs)
    if stage.manifest:
        return stage.manifest
    texts: list[tuple[str, str]] = []
    if instructions:
        texts += [(ALPACA_EVAL, one.text) for one in read_records(instructions, "instructions", Instruction)]
    if questions:
        texts += [(EXACT, one.text) for one in read_records(questions, "questions", Question)]
    if path:
        texts += [(MT_BENCH, turn) for question in read_questions(path) for turn in question.turns]
    records = [EvaluationText(id=str(number), set=name, text=text) for number, (name, text) in enumerate(texts)]
    limit = Observation(id=NOVELTY, metric=NOVELTY, item="", values=[settings.novelty])  # so it is part of the digest
    kept = Counter(record.set for record in records)
    return stage.publish(Counts(kept=dict(kept)), {"texts": records, "limits": [limit]})
