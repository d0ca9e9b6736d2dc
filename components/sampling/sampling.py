"""Mt answers every new prompt N times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from components.core.context import open_step
from components.core.hashing import seed_from
from components.core.records import Candidate, Counts, Manifest, Prompt, conversation
from components.core.stage import Stage, parent, read_records
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
    asked, keep = read_records(prompts, "prompts", Prompt), settings.reasoning == "keep"
    candidates = complete(stage, endpoint, answers_to("candidates", asked, settings.candidates, settings, keep))
    return stage.publish(
        count_candidates(candidates), {"candidates": candidates}, tokens=sum(c.tokens for c in candidates)
    )


def answers_to(
    kind: str, prompts: Sequence[Prompt], answers: int, settings: Generation, thoughts: bool = False
) -> Batch[Candidate]:
    """`answers` candidates of each prompt; seeds come from the ids, so an interrupted stage continues the same draw.

    Where their `thoughts` are kept, they are beside the text.
    """
    by_id = {f"{prompt.id}/{n}": prompt for prompt in prompts for n in range(answers)}
    sampling: Sampling = settings.sampling()
    requests = [
        Request(id, conversation(prompt.history, prompt.text), sampling, seed_from(settings.seed, kind, id))
        for id, prompt in by_id.items()
    ]

    def make(request: Request, answer: Completion) -> Candidate:
        prompt = by_id[request.id]
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

    return Batch(kind, Candidate, requests, make, settings.concurrency)


def count_candidates(candidates: Sequence[Candidate]) -> Counts:
    """Whole candidates, and the others by reason."""
    dropped = Counter(
        unanswered(c.finish_reason) or "candidate cut off by length" for c in candidates if c.finish_reason != STOP
    )
    return Counts(kept={"candidates": len(candidates) - dropped.total()}, dropped=dict(dropped))
