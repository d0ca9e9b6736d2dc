"""Two models' answers side by side, in both orders; a disagreement between the orders is a tie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from components.core.hashing import seed_from
from components.core.records import Candidate, Comparison
from components.core.stage import Stage
from components.evaluation.alpaca_eval.settings import AnnotationSettings
from components.judging.prompt import neutralise
from components.serving.client import Completion, Request
from components.serving.completions import complete

TEMPLATE = Path(__file__).with_name("comparison_prompt.txt").read_text()
_MARK = re.compile(r"\bverdict\s*\**\s*:", re.IGNORECASE)
_VERDICT = re.compile(r"\bverdict\s*\**\s*:[\s*<\[\"']*(?:response\s+)?(A|B|tie)\b", re.IGNORECASE)
Side = Literal["model", "opponent"]
OTHER: dict[Side, Side] = {"model": "opponent", "opponent": "model"}


def comparison_prompt(instruction: str, first: str, second: str) -> str:
    """The filled prompt; all three texts are untrusted."""
    slots = {"instruction": instruction, "first": first, "second": second}
    # one pass over the template: a slot's name inside a text is left alone
    return re.sub(r"\{(\w+)\}", lambda slot: neutralise(slots[slot[1]]), TEMPLATE)


def parse_verdict(completion: str) -> Literal["first", "second", "tie"] | None:
    """What the LAST "Verdict:" says, None where it says nothing valid."""
    marks = list(_MARK.finditer(completion))
    found = _VERDICT.match(completion, marks[-1].start()) if marks else None
    if not found:
        return None
    verdicts: dict[str, Literal["first", "second", "tie"]] = {"a": "first", "b": "second", "tie": "tie"}
    return verdicts[found[1].lower()]


def compare(
    stage: Stage,
    answers: Sequence[Candidate],
    opponents: Sequence[Candidate],
    settings: AnnotationSettings,
    endpoint: str,
) -> list[Comparison]:
    """Both orders of every prompt that both models answered differently."""
    other = {answer.prompt_id: answer.text for answer in opponents}
    contested = [a for a in answers if a.prompt_id in other and a.text != other[a.prompt_id]]
    sides: tuple[Side, Side] = ("model", "opponent")
    asked: dict[str, tuple[Candidate, Side]] = {f"{a.prompt_id}/{side}": (a, side) for a in contested for side in sides}
    sampling = settings.comparison_sampling()

    def request(id: str, answer: Candidate, first: Side) -> Request:
        texts = [answer.text, other[answer.prompt_id]]
        prompt = comparison_prompt(answer.prompt, *(texts if first == "model" else texts[::-1]))
        return Request(id, [{"role": "user", "content": prompt}], sampling, seed_from(settings.seed, "comparison", id))

    def make(request: Request, answer: Completion) -> Comparison:
        candidate, first = asked[request.id]
        verdict = parse_verdict(answer.text)
        winner: dict[str | None, Side | Literal["tie"]] = {"first": first, "second": OTHER[first], "tie": "tie"}
        return Comparison(
            id=request.id,
            prompt_id=candidate.prompt_id,
            first=first,
            completion=answer.text,
            verdict=winner.get(verdict),
            tokens=answer.tokens,
        )

    requests = [request(id, answer, first) for id, (answer, first) in asked.items()]
    return complete(stage, "comparisons", Comparison, requests, make, endpoint, settings.concurrency)


def tally(
    answers: Sequence[Candidate], opponents: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> dict[str, str]:
    """Outcome by prompt that both models answered: win, tie, loss, or unparsed where either order gave no verdict.

    Equal answers are a tie without a question; so is a pair of orders that disagree.
    """
    verdicts: dict[str, list[str | None]] = {}
    for one in comparisons:
        verdicts.setdefault(one.prompt_id, []).append(one.verdict)
    answered = {one.prompt_id for one in opponents}
    common = [one.prompt_id for one in answers if one.prompt_id in answered]
    return {prompt: _outcome(verdicts[prompt]) if prompt in verdicts else "tie" for prompt in common}


def _outcome(both: Sequence[str | None]) -> str:
    if None in both:
        return "unparsed"
    if len(set(both)) > 1:
        return "tie"
    return {"model": "win", "opponent": "loss", "tie": "tie"}[str(both[0])]
