"""Ask a served model the questions, several times at a temperature and once greedily, and compare its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from components.core.records import Candidate, Prompt, Question
from components.evaluation.exact_answers.questions import find_answer
from components.evaluation.exact_answers.settings import ExactAnswersSettings
from components.metrics.observations import Values
from components.sampling.sampling import answers_to
from components.serving.answers import NO_ANSWER, NO_TEXT, REFUSAL, unanswered
from components.serving.completions import Batch
from components.serving.settings import Generation

SAMPLED, GREEDY = "exact_answers", "exact_answers_greedy"  # kinds of records, and metrics
CUT, NOT_FOUND, DIFFERENT = "cut off by length", "no answer found", "another answer"
WITHOUT_ANSWER = (NO_ANSWER, NO_TEXT, REFUSAL)  # ends at which the model chose to say nothing
Answers = dict[str, list[Candidate]]  # by kind


@dataclass(frozen=True)
class ExactAnswers:
    """The answers by kind, observations by metric (the share right) and question, and shares by their form."""

    answers: Answers = field(default_factory=dict)
    observed: dict[str, Values] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)


def answers_to_questions(
    questions: Sequence[Question], settings: ExactAnswersSettings, answers: Generation
) -> list[Batch[Candidate]]:
    """Sampled and greedy ones; all but the temperature is drawn as `answers` says."""
    prompts = [Prompt(id=question.id, text=question.text) for question in questions]
    sampled = answers.model_copy(update={"temperature": settings.temperature})
    greedy = answers.model_copy(update={"temperature": 0.0})
    return [answers_to(SAMPLED, prompts, settings.samples, sampled), answers_to(GREEDY, prompts, 1, greedy)]


def compare(questions: Sequence[Question], answers: Answers, pattern: str) -> ExactAnswers:
    """The answers with what they show; `pattern` finds the answer in what the model wrote.

    Shares of the answers that are wrong by their form: `<kind>_cut` by length, `<kind>_not_found`. A question that is
    too long for the model, or that the endpoint did not answer, is neither right nor wrong; where the model itself said
    nothing, no answer is found.
    """
    references = {question.id: question.answer for question in questions}
    observed: dict[str, Values] = {}
    shares: dict[str, float] = {}
    for kind, given in answers.items():
        reasons: Counter[str | None] = Counter()
        right: dict[str, list[bool]] = {}
        for answer in given:
            if answer.finish_reason in WITHOUT_ANSWER or not unanswered(answer.finish_reason):
                reason = wrong_because(answer, references[answer.prompt_id], pattern)
                reasons[reason] += 1
                right.setdefault(answer.prompt_id, []).append(reason is None)
        observed[kind] = {question: (fmean(group),) for question, group in right.items()}
        if right:
            shares[f"{kind}_cut"] = reasons[CUT] / reasons.total()
            shares[f"{kind}_not_found"] = reasons[NOT_FOUND] / reasons.total()
    return ExactAnswers(answers, observed, shares)


def wrong_because(answer: Candidate, reference: str, pattern: str) -> str | None:
    """Why an answer is not right, None where it is. One that was cut off gave no answer, whatever it holds."""
    if answer.finish_reason == "length":
        return CUT
    given = find_answer(answer.text, pattern)
    if given is None:
        return NOT_FOUND
    return None if given.equals(reference) else DIFFERENT
