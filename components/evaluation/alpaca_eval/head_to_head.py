"""Two models' answers side by side, in both orders; a disagreement between the orders is a tie."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from components.core.hashing import seed_from
from components.core.records import Candidate, Comparison
from components.evaluation.alpaca_eval.settings import AnnotationSettings
from components.evaluation.alpaca_eval.verdicts import parse_verdict
from components.judging.prompt import neutralise, transcript
from components.serving.answers import unanswered
from components.serving.client import Completion, Request
from components.serving.completions import Batch

TEMPLATE = Path(__file__).with_name("comparison_prompt.txt").read_text()
Side = Literal["model", "opponent"]
NO_VERDICT = "no verdict in both orders"
OTHER: dict[Side, Side] = {"model": "opponent", "opponent": "model"}


def comparison_prompt(instruction: str, first: str, second: str) -> str:
    """The filled prompt; all three texts are untrusted."""
    slots = {"instruction": instruction, "first": first, "second": second}
    # one pass over the template: a slot's name inside a text is left alone
    return re.sub(r"\{(\w+)\}", lambda slot: neutralise(slots[slot[1]]), TEMPLATE)


def comparisons_of(
    answers: Sequence[Candidate], opponents: Sequence[Candidate], settings: AnnotationSettings
) -> Batch[Comparison]:
    """Both orders of every prompt that both models answered differently."""
    other = {answer.prompt_id: answer.text for answer in opponents}
    contested = [a for a in answers if a.prompt_id in other and a.text != other[a.prompt_id]]
    by_id = {f"{a.prompt_id}/{first}": (a, first) for a in contested for first in OTHER}
    sampling = settings.comparison_sampling()
    requests = []
    for id, (answer, first) in by_id.items():
        texts = [answer.text, other[answer.prompt_id]]
        asked = transcript(answer.history, answer.prompt)
        prompt = comparison_prompt(asked, *(texts if first == "model" else texts[::-1]))
        seed = seed_from(settings.seed, "comparison", id)
        requests.append(Request(id, [{"role": "user", "content": prompt}], sampling, seed))

    def make(request: Request, answer: Completion) -> Comparison:
        candidate, first = by_id[request.id]
        verdict = parse_verdict(answer.text, cut=answer.finish_reason == "length")
        winner: dict[str | None, Side | Literal["tie"]] = {"first": first, "second": OTHER[first], "tie": "tie"}
        missing = unanswered(answer.finish_reason)
        return Comparison(
            id=request.id,
            prompt_id=candidate.prompt_id,
            first=first,
            completion=answer.text,
            verdict=winner.get(verdict),
            unparsed=None if verdict else f"annotator's {missing}" if missing else NO_VERDICT,
            tokens=answer.tokens,
        )

    return Batch("comparisons", Comparison, requests, make, settings.concurrency)


def tally(
    answers: Sequence[Candidate], opponents: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> dict[str, str]:
    """Outcome by prompt that both models answered: win, tie, loss, or unparsed where either order gave no verdict.

    Equal answers are a tie without a question; so is a pair of orders that disagree.
    """
    verdicts: dict[str, list[str | None]] = {}
    for comparison in comparisons:
        verdicts.setdefault(comparison.prompt_id, []).append(comparison.verdict)
    answered = {answer.prompt_id for answer in opponents}
    outcomes = {}
    for prompt in [answer.prompt_id for answer in answers if answer.prompt_id in answered]:
        both = verdicts.get(prompt, ["tie"])
        agreed = both[0] if len(set(both)) == 1 else "tie"
        outcomes[prompt] = "unparsed" if None in both else {"model": "win", "opponent": "loss"}.get(str(agreed), "tie")
    return outcomes


def undecided(prompts: Iterable[str], outcomes: Mapping[str, str], comparisons: Sequence[Comparison]) -> Counter[str]:
    """Why prompts have no outcome, each for one reason: a model gave no answer, or an order no verdict."""
    reasons: dict[str, str] = {}
    for comparison in comparisons:
        if comparison.verdict is None:
            reasons.setdefault(comparison.prompt_id, comparison.unparsed or NO_VERDICT)
    unparsed = Counter(reasons[prompt] for prompt, outcome in outcomes.items() if outcome == "unparsed")
    return +(unparsed + Counter({"a model gave no answer": len(set(prompts) - set(outcomes))}))
