"""An annotator grades every answer from 1 to 10 (single-answer grading, Zheng et al. 2023, section 3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from components.core.errors import UserError
from components.core.hashing import seed_from
from components.core.records import Counts, Manifest, Parent
from components.core.stage import Stage, parent, read_records
from components.evaluation.mt_bench.answering import unanswered
from components.evaluation.mt_bench.prompt import REFERENCE_CATEGORIES, JudgePrompt, prompt_name, slots_of
from components.evaluation.mt_bench.questions import file_parent, find_files, read_judge_prompts, read_references
from components.evaluation.mt_bench.rating import parse_rating
from components.evaluation.mt_bench.records import Answer, Rating
from components.evaluation.mt_bench.settings import GradingSettings, MtBenchSettings
from components.metrics.observations import observations
from components.serving.answers import unanswered as why_unanswered
from components.serving.client import Completion, Request
from components.serving.completions import Batch, Endpoint, complete

References = Mapping[str, tuple[str, str]]


def grade(root: str, settings: MtBenchSettings, answers: str, annotator: Parent, endpoint: Endpoint) -> Manifest:
    """The grading stage: ratings of an answering stage's answers by the annotator, which is served at `endpoint`.

    Raises UserError where a judge prompt or a needed reference answer is missing.
    """
    files = find_files(settings.questions, settings.references)
    inputs = {
        "answers": parent(answers),
        "annotator": annotator,
        "references": file_parent(files.references),
        "judge_prompts": file_parent(files.judge_prompts),
    }
    stage = Stage(root, "mt_bench", settings.grading, inputs)
    if stage.manifest:
        return stage.manifest
    prompts, references = read_judge_prompts(files.judge_prompts), read_references(files.references)
    given = read_records(answers, "answers", Answer)
    ratings = rate(stage, given, references, prompts, settings.grading, endpoint)
    missing = unanswered(given)
    unparsed = Counter(f"rating unparsed: {rating.unparsed}" for rating in ratings if rating.rating is None)
    not_graded = Counter({f"not graded: {reason}": n for reason, n in missing.items()})
    return stage.publish(
        Counts(kept={"ratings": len(ratings) - unparsed.total()}, dropped=dict(unparsed + not_graded)),
        {"ratings": ratings, "observations": observations({"mt_bench": by_question(ratings)})},
        metrics=mt_bench_metrics(ratings, missing.total()),
        tokens=sum(rating.tokens for rating in ratings),
    )


def rate(
    stage: Stage,
    answers: Sequence[Answer],
    references: References,
    prompts: Mapping[str, JudgePrompt],
    settings: GradingSettings,
    endpoint: Endpoint,
) -> list[Rating]:
    """One rating of each turn that was answered."""
    first = {answer.question_id: answer for answer in answers if answer.turn == 1}
    by_id = {answer.id: answer for answer in answers if not why_unanswered(answer.finish_reason)}
    sampling = settings.sampling()

    requests = []
    for answer in by_id.values():
        slots = slots_of(answer, first[answer.question_id], _reference(answer, references))
        messages = prompts[prompt_name(answer)].messages(slots)
        requests.append(Request(answer.id, messages, sampling, seed_from(settings.seed, "rating", answer.id)))

    def make(request: Request, completion: Completion) -> Rating:
        answer = by_id[request.id]
        score = parse_rating(completion.text, cut=completion.finish_reason == "length")
        missing = why_unanswered(completion.finish_reason)
        return Rating(
            id=answer.id,
            question_id=answer.question_id,
            category=answer.category,
            turn=answer.turn,
            completion=completion.text,
            rating=score.value,
            unparsed=f"judge {missing}" if missing else score.unparsed,
            judge_prompt=prompts[prompt_name(answer)].sha256,
            tokens=completion.tokens,
        )

    return list(complete(stage, endpoint, Batch("ratings", Rating, requests, make, settings.concurrency)))


def _reference(answer: Answer, references: References) -> tuple[str, str] | None:
    """Both turns' reference answers, None in a category that is graded without."""
    if answer.category not in REFERENCE_CATEGORIES:
        return None
    if answer.question_id not in references:
        raise UserError(
            f"question {answer.question_id} ({answer.category}) has no reference answer",
            "Add it to the file that the setting `references` names.",
        )
    return references[answer.question_id]


def by_question(ratings: Sequence[Rating]) -> dict[str, tuple[float, float]]:
    """Observations of the metric mt_bench: sum and number of the parsed ratings of a question's turns."""
    rated: dict[str, list[float]] = {}
    for rating in ratings:
        if rating.rating is not None:
            rated.setdefault(rating.question_id, []).append(rating.rating)
    return {question: (sum(values), float(len(values))) for question, values in rated.items()}


def mt_bench_metrics(ratings: Sequence[Rating], unanswered: int) -> dict[str, float]:
    """Mean ratings, 1 to 10, of all turns, by turn and by category, and the numbers of turns with and without a rating.

    Every parsed rating counts once (FastChat's show_result); a mean over none is absent. `unanswered` turns were not
    graded: they are among those without a rating.
    """
    groups: dict[str, list[float]] = {}
    for rating in ratings:
        if rating.rating is not None:
            for name in ("mt_bench", f"mt_bench_turn_{rating.turn}", f"mt_bench_{rating.category}"):
                groups.setdefault(name, []).append(rating.rating)
    rated = len(groups.get("mt_bench", []))
    counts = {"mt_bench_rated": float(rated), "mt_bench_unrated": float(len(ratings) - rated + unanswered)}
    return {name: fmean(values) for name, values in groups.items()} | counts
