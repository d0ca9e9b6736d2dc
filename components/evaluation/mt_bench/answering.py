"""The model answers MT-Bench's questions, both turns in one conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from components.core.hashing import seed_from
from components.core.records import Counts, Manifest, Messages
from components.core.stage import Stage, parent
from components.evaluation.mt_bench.questions import Question, file_parent, find_files, read_questions
from components.evaluation.mt_bench.records import Answer
from components.evaluation.mt_bench.settings import AnswerSettings, MtBenchSettings
from components.serving.answers import unanswered as why_unanswered
from components.serving.client import Completion, Request
from components.serving.completions import Batch, Endpoint, complete


def answer_questions(root: str, settings: MtBenchSettings, model: str, endpoint: Endpoint) -> Manifest:
    """The answering stage: `model`, served at `endpoint`, answers turn 1 of all questions, then turn 2.

    Raises UserError where the questions are missing or damaged.
    """
    path = find_files(settings.questions, settings.references).questions
    stage = Stage(root, "mt_bench_answers", settings.answers, {"model": parent(model), "questions": file_parent(path)})
    if stage.manifest:
        return stage.manifest
    questions = read_questions(path)
    first = _answer_turn(stage, 1, {q: [_message("user", q.turns[0])] for q in questions}, settings.answers, endpoint)
    second = _answer_turn(stage, 2, _second_turns(questions, first), settings.answers, endpoint)
    answers = [*first, *second]
    answered = sum(not why_unanswered(a.finish_reason) for a in answers)  # cut ones are kept, as in FastChat
    return stage.publish(
        Counts(kept={"answers": answered}, dropped=dict(unanswered(answers))),
        {"answers": answers},
        metrics={"mt_bench_answers_cut": float(sum(a.finish_reason == "length" for a in answers))},
        tokens=sum(a.tokens for a in answers),
    )


def _second_turns(questions: Sequence[Question], first: Sequence[Answer]) -> dict[Question, Messages]:
    """The conversations so far, of the questions whose first turn was answered."""
    answers = {answer.question_id: answer.text for answer in first if not why_unanswered(answer.finish_reason)}
    return {
        q: [_message("user", q.turns[0]), _message("assistant", answers[q.question_id]), _message("user", q.turns[1])]
        for q in questions
        if q.question_id in answers
    }


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _answer_turn(
    stage: Stage,
    turn: Literal[1, 2],
    conversations: Mapping[Question, Messages],
    settings: AnswerSettings,
    endpoint: Endpoint,
) -> list[Answer]:
    """The answers to the last message of each conversation; seeds come from the ids, so a resumed stage continues."""
    by_id = {f"{question.question_id}/{turn}": question for question in conversations}
    kind = f"turn{turn}"
    requests = [
        Request(id, conversations[q], settings.sampling_for(q.category), seed_from(settings.seed, kind, id))
        for id, q in by_id.items()
    ]

    def make(request: Request, answer: Completion) -> Answer:
        question = by_id[request.id]
        return Answer(
            id=request.id,
            question_id=question.question_id,
            category=question.category,
            turn=turn,
            prompt=question.turns[turn - 1],
            text=answer.text.strip(),
            finish_reason=answer.finish_reason,
            seed=request.seed,
            tokens=answer.tokens,
        )

    return list(complete(stage, endpoint, Batch(kind, Answer, requests, make, settings.concurrency)))


def unanswered(answers: Sequence[Answer]) -> Counter[str]:
    """Turns without an answer, by reason; of the two turns of every question there is a record of those asked."""
    missing = ((a.turn, why_unanswered(a.finish_reason)) for a in answers)
    reasons = Counter(f"turn {turn}: {reason}" for turn, reason in missing if reason)
    not_asked = sum(a.turn == 1 for a in answers) - sum(a.turn == 2 for a in answers)
    if not_asked:
        reasons["turn 2: turn 1 has no answer"] = not_asked
    return reasons
