"""Mt answers every new prompt N times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from components.core.context import open_step
from components.core.hashing import seed_from
from components.core.record_table import Again, RecordTable
from components.core.records import Candidate, Counts, Manifest, Prompt, conversation
from components.core.stage import Stage, each_record, parent
from components.prompts.prompts import make_round_prompts
from components.sampling.settings import SamplingSettings
from components.serving.answers import STOP, unanswered
from components.serving.client import Completion, Request, Sampling
from components.serving.completions import Batch, Endpoint, complete
from components.serving.engines.served_model import ServedModel
from components.serving.settings import Generation


def sample_model(name: str, before: dict[str, Any], model: str, prompts: list[str]) -> tuple[str, list[str]]:
    """Returns the candidates' URI and those of the prompts of all rounds so far.

    Where the policy writes the prompts, it does so now. `prompts` are those of all rounds; empty: as in `before`.
    """
    with open_step(before["run"], f"sample {name.upper()}") as context:
        policy, number = ServedModel(context, name, model), int(name[1:])
        prompts = prompts or before["prompts"]
        if context.recipe["prompts"]["source"] == "policy":
            written = make_round_prompts(context, number, before["data"], prompts, policy)
            prompts = [*prompts, written]
        settings, own = context.section("sampling", SamplingSettings), prompts[number - 1]
        candidates = context.make(
            f"{name}/sampling", lambda: sample_candidates(context.store, settings, model, own, policy)
        )
        return candidates, prompts


def sample_candidates(root: str, settings: SamplingSettings, model: str, prompts: str, endpoint: Endpoint) -> Manifest:
    """The sampling stage: N candidates of each prompt of a prompts stage, drawn from `model`."""
    stage = Stage(root, "sampling", settings, {"model": parent(model), "prompts": parent(prompts)})
    if stage.manifest:
        return stage.manifest
    asked = RecordTable(Prompt, each_record(prompts, "prompts", Prompt)).values()
    batch = answers_to("candidates", asked, settings.candidates, settings, settings.reasoning == "keep")
    return publish_candidates(stage, complete(stage, endpoint, batch))


def answers_to(
    kind: str, prompts: Iterable[Prompt], answers: int, settings: Generation, thoughts: bool = False
) -> Batch[Candidate]:
    """`answers` candidates of each prompt; seeds come from the ids, so an interrupted stage continues the same draw.

    The prompts are gone through several times. Where the answers' `thoughts` are kept, they are beside the text.
    """
    sampling: Sampling = settings.sampling()

    def requests() -> Iterator[Request]:
        for prompt in prompts:
            messages = conversation(prompt.history, prompt.text)
            for id in (f"{prompt.id}/{n}" for n in range(answers)):
                yield Request(id, messages, sampling, seed_from(settings.seed, kind, id), about=prompt)

    def make(request: Request, answer: Completion) -> Candidate:
        prompt: Prompt = request.about
        return Candidate(
            id=request.id,
            prompt_id=prompt.id,
            prompt=prompt.text,
            history=prompt.history,
            text=answer.text.strip(),
            finish_reason=answer.finish_reason,
            seed=request.seed,
            tokens=answer.tokens,
            reasoning=answer.reasoning.strip() if thoughts else "",
        )

    return Batch(kind, Candidate, Again(requests), make, settings.concurrency)


def publish_candidates(stage: Stage, candidates: Iterable[Candidate]) -> Manifest:
    """A sampling stage of these, which are gone through twice."""
    tokens, given, dropped = 0, 0, Counter[str]()
    for one in candidates:
        tokens, given = tokens + one.tokens, given + 1
        if one.finish_reason != STOP:
            dropped[unanswered(one.finish_reason) or "candidate cut off by length"] += 1
    counts = Counts(kept={"candidates": given - dropped.total()}, dropped=dict(dropped))
    return stage.publish(counts, {"candidates": candidates}, tokens=tokens)
