"""AlpacaEval's question: is the model's output better than the reference's? (Dubois et al. 2404.04475)"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from components.core.hashing import seed_from
from components.core.records import Annotation, Candidate, Instruction
from components.evaluation.alpaca_eval.settings import AnnotationSettings
from components.evaluation.alpaca_eval.template import OWN, Template
from components.evaluation.alpaca_eval.verdicts import parse_identifier
from components.serving.answers import unanswered
from components.serving.client import Completion, Request
from components.serving.completions import Batch

FIRST, SECOND = "m", "M"  # AlpacaEval's identifiers


def annotations_of(
    instructions: Sequence[Instruction],
    outputs: Mapping[str, Candidate],
    settings: AnnotationSettings,
    template: Template = OWN,
) -> Batch[Annotation]:
    """One of each output that differs from its reference; `outputs` are the model's by instruction id.

    An output that was cut off by length is judged as it is, as AlpacaEval does.
    """
    answered = [i for i in instructions if not unanswered(outputs[i.id].finish_reason)]
    different = [i for i in answered if outputs[i.id].text != i.reference.strip()]
    requests = [_request(i, outputs[i.id].text, settings, template) for i in different]

    def make(request: Request, answer: Completion) -> Annotation:
        return _annotation(request, answer, settings)

    return Batch("annotations", Annotation, requests, make, settings.concurrency)


def with_settled(
    instructions: Sequence[Instruction], outputs: Mapping[str, Candidate], made: Iterable[Annotation]
) -> list[Annotation]:
    """One annotation of every instruction: those `made`, and what nobody is asked.

    Equal outputs are a draw; where the model gave none, nothing is compared.
    """
    missing = {i.id: reason for i in instructions if (reason := unanswered(outputs[i.id].finish_reason))}
    annotations = {annotation.id: annotation for annotation in made}
    draw = Annotation(id="", preference=0.5, form="equal outputs", switched=False, completion="", seed=0, tokens=0)
    none = draw.model_copy(update={"preference": None, "form": "no output"})
    annotations |= {i: none.model_copy(update={"id": i, "unparsed": f"no output: {r}"}) for i, r in missing.items()}
    return [annotations.get(i.id, draw.model_copy(update={"id": i.id})) for i in instructions]


def annotator_prompt(instruction: str, first: str, second: str) -> str:
    """Our own template, filled; all three texts are untrusted."""
    return OWN.messages(instruction, first, second)[0]["content"]


def _request(instruction: Instruction, output: str, settings: AnnotationSettings, template: Template) -> Request:
    texts = [instruction.reference, output]
    if _switched(settings.seed, instruction.id):
        texts.reverse()
    messages = template.messages(instruction.text, *texts)
    seed = seed_from(settings.seed, "annotation", instruction.id)
    return Request(instruction.id, messages, settings.preference_sampling(), seed)


def _annotation(request: Request, answer: Completion, settings: AnnotationSettings) -> Annotation:
    """The record of one answer of the annotator."""
    switched = _switched(settings.seed, request.id)
    logprobs = None  # of the two identifiers, where they are among the likeliest; the plain form asked for none
    if answer.first_token is not None:
        logprobs = {token: answer.first_token[token] for token in (FIRST, SECOND) if token in answer.first_token}
    preferred, unparsed = _preferred(answer, logprobs, settings.form)
    return Annotation(
        id=request.id,
        preference=preferred if preferred is None or not switched else 1 - preferred,
        unparsed=unparsed,
        form="plain" if logprobs is None else "weighted",
        switched=switched,
        completion=answer.text,
        logprobs=logprobs,
        seed=request.seed,
        tokens=answer.tokens,
    )


def _switched(seed: int, instruction_id: str) -> bool:
    """Whether the model's output stands first: a coin for each instruction, the same for every model."""
    return seed_from(seed, "switched", instruction_id) % 2 == 1


def _preferred(answer: Completion, logprobs: Mapping[str, float] | None, form: str) -> tuple[float | None, str | None]:
    """How far the second output is preferred, or why that is unknown."""
    if missing := unanswered(answer.finish_reason):
        return None, f"annotator's {missing}"
    if logprobs is not None:
        return _weighted(logprobs)
    if form == "weighted":
        return None, "the endpoint gave no logprobs"
    preferred = {FIRST: 0.0, SECOND: 1.0}.get(str(parse_identifier(answer.text, (FIRST, SECOND))))
    return preferred, None if preferred is not None else "answer is neither m nor M"


def _weighted(logprobs: Mapping[str, float]) -> tuple[float | None, str | None]:
    """Probability of the second output among the two; an identifier that is not among the likeliest counts as 0."""
    if not logprobs:
        return None, "neither identifier among the likeliest tokens"
    first, second = (math.exp(logprobs.get(token, -math.inf)) for token in (FIRST, SECOND))
    if first + second == 0:
        return None, "neither identifier among the likeliest tokens"
    return second / (first + second), None
