"""What a person is asked about a model: the preferences that it was trained on, the scores behind them, and the
comparisons by which it counts as better than the model before it.

M(t+1) learns from what Mt preferred, so labels on those preferences say how good its training data was (issue 15).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.core.errors import UserError
from components.core.hashing import content_hash
from components.core.journal import read_journal
from components.core.records import Annotation, Candidate, Comparison, Instruction, Judgement, Pair
from components.core.stage import read_manifest, read_records
from components.evaluation.alpaca_eval.head_to_head import tally
from components.judging.prompt import transcript
from components.pairs.scores import SCORE_TOLERANCE
from components.review.items import Choice, Item, mean_score, order_item, score_item, unclear, words_of
from components.serving.answers import unanswered

CLOSE = 0.1  # a preference this near to 0.5 is nearly a tie
CHOSEN: Choice = "first"  # of a pair, as it is handed to order_item
TIE: Choice = "tie"
OUTCOMES: dict[str, Choice] = {"win": "first", "loss": "second", "tie": "tie"}


def find_items(root: str, run: str, name: str) -> list[Item]:
    """All that can be asked about the model `name` (m1, m2, ...), at most one item of each kind a prompt.

    Raises UserError where the run has nothing to ask.
    """
    stages = {entry["name"]: entry["uri"] for entry in read_journal(root, run, "stages")}
    before, items = f"m{int(name[1:]) - 1}", list[Item]()
    if f"{before}/pairs" in stages:
        items += _judged(*(stages[f"{before}/{kind}"] for kind in ("sampling", "judging", "pairs")))
    if f"{name}/annotation" in stages:
        items += _compared(stages[f"{name}/annotation"])
    if not items:
        raise UserError(
            f"the run {run} has no judgements to review for {name.upper()}",
            "srlm show tells how far it got; --model names another model of it.",
        )
    return list({item.id: item for item in items}.values())


def reviewable(root: str, run: str) -> list[str]:
    """The models of the run that a person can be asked about, in their order: who learns from judgements, or was
    compared."""
    names = [entry["name"].split("/") for entry in read_journal(root, run, "stages") if "/" in entry["name"]]
    numbers = {int(model[1:]) + 1 for model, kind in names if kind == "pairs" and model[1:].isdigit()}
    numbers |= {int(model[1:]) for model, kind in names if kind == "annotation" and model[1:].isdigit()}
    return [f"m{number}" for number in sorted(numbers - {0})]


def require_reviewable(root: str, run: str, name: str) -> str:
    """The model's name; "" is the run's last. Raises UserError where the run has no such model, or none at all."""
    known = reviewable(root, run)
    if not known or (name and name not in known):
        raise UserError(
            f"the run {run} has nothing to review" + (f" of {name!r}, but of {', '.join(known)}" if known else " yet"),
            "srlm show tells how far it got: there must be pairs, or answers that were compared.",
        )
    return name or known[-1]


def _judged(sampling: str, judging: str, pairs: str) -> list[Item]:
    """The pairs of a round, its prompts on which all scores tie, and one answer of each prompt by its score."""
    answers = {one.id: one for one in read_records(sampling, "candidates", Candidate)}
    judgements: dict[str, list[Judgement]] = {}
    for one in read_records(judging, "judgements", Judgement):
        judgements.setdefault(one.candidate_id, []).append(one)
    by_prompt: dict[str, list[str]] = {}
    for id in sorted(judgements.keys() & answers.keys(), key=lambda id: content_hash(["review", id])):
        by_prompt.setdefault(answers[id].prompt_id, []).append(id)
    made = {pair.id: [pair.chosen_id, pair.rejected_id] for pair in read_records(pairs, "pairs", Pair)}
    paired = {prompt: ids for prompt, ids in made.items() if answers.keys() >= set(ids)}  # not M1's, not people's
    items = []
    for prompt in sorted(by_prompt):
        ids, told = by_prompt[prompt], CHOSEN if prompt in paired else TIE
        question = transcript(answers[ids[0]].history, answers[ids[0]].prompt)
        items.append(score_item(question, answers[ids[0]].text, judgements[ids[0]]))
        both = [answers[id] for id in paired.get(prompt) or _tied(ids, judgements)]
        if len({answer.text for answer in both}) == 2:
            said = [judgements[answer.id] for answer in both]
            hard = "the judge's scores tie" if told == TIE else unclear(said)
            words = [word for one in said for word in words_of(one)]
            items.append(order_item("judge", question, (both[0].text, both[1].text), told, hard, words))
    return items


def _tied(ids: Sequence[str], judgements: Mapping[str, Sequence[Judgement]]) -> list[str]:
    """Two of a prompt's answers whose mean scores are those of all; none where scores differ or are missing."""
    means = {id: mean for id in ids if (mean := mean_score(judgements[id])) is not None}
    same = len(means) > 1 and max(means.values()) - min(means.values()) <= SCORE_TOLERANCE
    return list(means)[:2] if same else []


def _compared(annotation: str) -> list[Item]:
    """Answers against those of the model before, and outputs against the reference, as the annotator compared them."""
    parents = {role: one.uri for role, one in read_manifest(annotation).parents.items()}
    items: list[Item] = []
    if "opponent" in parents:
        items += _head_to_head(annotation, parents["evaluation"], parents["opponent"])
    if "instructions" in parents:
        items += _against_reference(annotation, parents["evaluation"], parents["instructions"])
    return items


def _head_to_head(annotation: str, evaluation: str, opponent: str) -> list[Item]:
    ours, theirs = (
        [a for a in read_records(uri, "answers", Candidate) if not unanswered(a.finish_reason)]
        for uri in (evaluation, opponent)
    )
    comparisons = read_records(annotation, "comparisons", Comparison)
    other, outcomes = {one.prompt_id: one.text for one in theirs}, tally(ours, theirs, comparisons)
    items = []
    for answer in ours:
        said = [one for one in comparisons if one.prompt_id == answer.prompt_id]
        if said:
            hard = "the two orders disagree" if len({one.verdict for one in said}) > 1 else ""
            if outcomes[answer.prompt_id] == "unparsed":
                hard = "an order has no verdict"
            words = [(f"{one.first} shown first: {one.verdict or one.unparsed}", one.completion) for one in said]
            both, told = (answer.text, other[answer.prompt_id]), OUTCOMES.get(outcomes[answer.prompt_id])
            question = transcript(answer.history, answer.prompt)
            items.append(order_item("annotator", question, both, told, hard, words))
    return items


def _against_reference(annotation: str, evaluation: str, instructions: str) -> list[Item]:
    outputs = {one.prompt_id: one.text for one in read_records(evaluation, "outputs", Candidate)}
    made = {one.id: one for one in read_records(annotation, "annotations", Annotation)}
    return [
        order_item("annotator", one.text, (outputs[one.id], one.reference), *_preference(made[one.id]))
        for one in read_records(instructions, "instructions", Instruction)
        if one.id in made and one.id in outputs and outputs[one.id] != one.reference
    ]


def _preference(made: Annotation) -> tuple[Choice | None, str, list[tuple[str, str]]]:
    """What an annotation says of the model's output (the first) and the reference, what is unclear, and its words."""
    preference = made.preference
    if preference is None:
        return None, "the annotator gave no preference", [(made.unparsed or "no preference", made.completion)]
    told: Choice = "tie" if preference == 0.5 else "first" if preference > 0.5 else "second"
    hard = "the annotator's preference is close to even" if abs(preference - 0.5) <= CLOSE else ""
    return told, hard, [(f"probability {preference:.2f} that the model's is better", made.completion)]
