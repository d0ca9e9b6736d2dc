"""Ask a served model the questions, several times at a temperature and once greedily, and compare its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from components.core.records import Candidate, Prompt, Question
from components.core.stage import Stage
from components.evaluation.exact_answers.matching import CUT, NOT_FOUND, wrong_because
from components.evaluation.exact_answers.settings import ExactAnswersSettings
from components.sampling.sampling import answer_prompts
from components.serving.client import PROMPT_TOO_LONG
from components.serving.settings import Generation

SAMPLED, GREEDY = "exact_answers", "exact_answers_greedy"  # kinds of records, and metrics
Answers = dict[str, list[Candidate]]
Values = dict[str, tuple[float, ...]]
Verdict = tuple[str, str | None]  # the question's id, and why the answer is wrong (None: it is right)


@dataclass(frozen=True)
class ExactAnswers:
    """The answers by kind, observations by metric (the share right) and question, and shares by their form."""

    answers: Answers = field(default_factory=dict)
    observed: dict[str, Values] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)


def answer_questions(
    stage: Stage, questions: Sequence[Question], settings: ExactAnswersSettings, answers: Generation, endpoint: str
) -> Answers:
    """The answers by kind, sampled and greedy; all but the temperature is drawn as `answers` says."""
    prompts = [Prompt(id=one.id, text=one.text) for one in questions]
    sampled = answers.model_copy(update={"temperature": settings.temperature})
    greedy = answers.model_copy(update={"temperature": 0.0})
    return {
        SAMPLED: answer_prompts(stage, SAMPLED, prompts, settings.samples, sampled, endpoint),
        GREEDY: answer_prompts(stage, GREEDY, prompts, 1, greedy, endpoint),
    }


def compare(questions: Sequence[Question], answers: Answers, pattern: str) -> ExactAnswers:
    """The answers with what they show; `pattern` finds the answer in what the model wrote."""
    verdicts = {kind: _verdicts(questions, given, pattern) for kind, given in answers.items()}
    observed = {kind: _shares_right(verdicts[kind]) for kind in answers}
    shares = {name: share for kind in answers for name, share in _malformed(kind, verdicts[kind]).items()}
    return ExactAnswers(answers, observed, shares)


def _verdicts(questions: Sequence[Question], answers: Sequence[Candidate], pattern: str) -> list[Verdict]:
    """A question that is too long for the model was not answered, neither right nor wrong."""
    references = {one.id: one.answer for one in questions}
    asked = [one for one in answers if one.finish_reason != PROMPT_TOO_LONG]
    return [(one.prompt_id, wrong_because(one, references[one.prompt_id], pattern)) for one in asked]


def _shares_right(verdicts: Sequence[Verdict]) -> Values:
    right: dict[str, list[bool]] = {}
    for question, wrong in verdicts:
        right.setdefault(question, []).append(wrong is None)
    return {question: (fmean(group),) for question, group in right.items()}


def _malformed(kind: str, verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Shares of the answers that are wrong by their form: `<kind>_cut` by length, `<kind>_not_found`."""
    reasons = Counter(wrong for _, wrong in verdicts)
    if not verdicts:
        return {}
    return {f"{kind}_cut": reasons[CUT] / len(verdicts), f"{kind}_not_found": reasons[NOT_FOUND] / len(verdicts)}
