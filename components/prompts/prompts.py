"""New prompts by few-shot self-instruct (Wang et al. 2022), as the method uses it (Yuan et al. 2024, section 3.1.3).

Prompts are written in waves: the demonstrations of a wave come from the seed prompts and from what earlier waves and
rounds had accepted. Every choice is seeded by the wave, so an interrupted stage replays to the same prompts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.core.context import RunContext, open_step
from components.core.errors import UserError
from components.core.hashing import seed_from, short_id
from components.core.progress import say
from components.core.records import Counts, Example, Manifest, Prompt, PromptAttempt, SeedPrompt
from components.core.stage import Stage, parent, read_manifest, read_records
from components.prompts.cleaning import clean
from components.prompts.file import take_prompts
from components.prompts.filters import ENGLISH, NoveltyPool, mean_novelty, rejection_reason
from components.prompts.settings import PromptsSettings
from components.seed_data.contamination import TOO_CLOSE, EvaluationTexts, read_evaluation_texts
from components.serving.client import Completion, Request
from components.serving.completions import Batch, Endpoint, complete
from components.serving.engines.served_model import ServedModel

STOP = ("\nTask", "\n\n\n")
INSTRUCTION = (
    "Below are tasks that people have given to an AI assistant. Write one more task that such a person could give: "
    "about something else, complete in itself, to be answered in text alone. Write the task only, not its answer.\n"
)
SAME_LANGUAGE = "Write it in the language of these tasks.\n"


def make_all_prompts(before: dict[str, Any], rounds: int) -> list[str]:
    """The step for prompts that do not depend on the policy: a fixed writer is served once for all of them."""
    data = before["data"]
    with open_step(before["run"], "write prompts") as context:
        writer = ServedModel(context, "writer", data["writer"])
        prompts: list[str] = []
        for number in range(1, rounds + 1):
            prompts.append(make_round_prompts(context, number, data, prompts, writer))
        writer.stop()
        return prompts


def make_round_prompts(
    context: RunContext, number: int, data: Mapping[str, str], earlier: Sequence[str], writer: ServedModel
) -> str:
    """Returns the URI of round `number`'s prompts; `data` is the run's (RunData), `earlier` those of earlier rounds."""
    settings, root = context.section("prompts", PromptsSettings), context.store
    seed_data, texts = data["seed_data"], data.get("evaluation_texts", "")
    if settings.source == "file":
        return context.make(f"m{number}/prompts", lambda: take_prompts(root, settings, earlier, seed_data, texts))
    return context.make(
        f"m{number}/prompts", lambda: write_prompts(root, settings, writer.model, seed_data, earlier, writer, texts)
    )


@dataclass
class TaskPool:
    """Demonstrations to draw from, and what has been accepted, or dropped and why."""

    seeds: list[str]
    earlier: list[str]  # generated in the rounds before
    novelty: NoveltyPool
    language: str = ENGLISH
    evaluation: EvaluationTexts = field(default_factory=EvaluationTexts)
    accepted: list[Prompt] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def take(self, attempt: PromptAttempt) -> None:
        """Accept the attempt or count why not."""
        text = clean(attempt.text) if attempt.finish_reason == "stop" else attempt.text
        if text is None:
            self.dropped["prompt: the writer refused"] += 1
            return
        reason = rejection_reason(text, attempt.finish_reason, self.language)
        if not reason and (name := self.evaluation.too_close(text)):
            reason = TOO_CLOSE + name
        if reason or not self.novelty.is_novel(text):
            self.dropped[f"prompt: {reason or 'not novel'}"] += 1
            return
        self.novelty.add(text)
        self.accepted.append(Prompt(id=short_id(text), text=text))


def write_prompts(
    root: str,
    settings: PromptsSettings,
    writer: str,
    seed_data: str,
    earlier: Sequence[str],
    endpoint: Endpoint,
    evaluation_texts: str = "",
) -> Manifest:
    """The prompts stage of a round; `earlier` are the prompts stages of the rounds before.

    Prompts too close to an evaluation text, or to a prompt that the seed data hold out, are dropped. Raises
    UserError when the writer's attempts are spent before `count` prompts are accepted.
    """
    inputs = {"writer": parent(writer), "seed_data": parent(seed_data)}
    inputs |= {f"earlier_{number}": parent(uri) for number, uri in enumerate(earlier, 1)}
    inputs |= {"evaluation_texts": parent(evaluation_texts)} if evaluation_texts else {}
    stage = Stage(root, "prompts", settings, inputs)
    if stage.manifest:
        return stage.manifest
    seeds, demonstrations = seed_prompts(seed_data)
    before = [prompt.text for uri in earlier for prompt in read_records(uri, "prompts", Prompt)]
    language = read_manifest(seed_data).settings.get("language", ENGLISH)
    pool = TaskPool(demonstrations, before, NoveltyPool(seeds + before, settings.novelty), language)
    pool.evaluation = read_evaluation_texts(evaluation_texts, seed_data)
    tokens = _write_until_enough(stage, settings, pool, endpoint)
    surplus = len(pool.accepted) - settings.count
    if surplus > 0:
        pool.dropped["prompt: more than asked for"] = surplus
    accepted = pool.accepted[: settings.count]
    novelty = mean_novelty([prompt.text for prompt in accepted], seeds + before)
    return stage.publish(
        Counts(kept={"prompts": len(accepted)}, dropped=dict(pool.dropped)),
        {"prompts": accepted},
        metrics={"prompt_novelty": novelty} if novelty is not None else {},
        tokens=tokens,
    )


def seed_prompts(seed_data: str) -> tuple[list[str], list[str]]:
    """The IFT prompts, those of EFT where there is no IFT (data.ift: 0), and those of them that show what a task is.

    All are what a new prompt must differ from; a later turn ("And in French?") is no task by itself. So is none where
    nothing but later turns is there, which then have to do.
    """
    found = [(example.prompt, example.history) for example in read_records(seed_data, "ift", Example)]
    found = found or [(prompt.text, prompt.history) for prompt in read_records(seed_data, "eft", SeedPrompt)]
    seeds = [text for text, _ in found]
    first = [text for text, history in found if all(message["role"] == "system" for message in history)]
    return seeds, first or seeds


def _write_until_enough(stage: Stage, settings: PromptsSettings, pool: TaskPool, endpoint: Endpoint) -> int:
    """Waves until the pool holds `count` prompts; returns the tokens used. Raises UserError when attempts are spent."""
    tokens = wave = attempts = 0
    while len(pool.accepted) < settings.count:
        if attempts >= settings.count * settings.max_attempts_per_prompt:
            reasons = ", ".join(f"{n} {reason.removeprefix('prompt: ')}" for reason, n in pool.dropped.most_common())
            raise UserError(
                f"the prompt writer gave {len(pool.accepted)} of {settings.count} prompts in {attempts} attempts "
                f"({reasons})",
                "Lower prompts.count, raise prompts.novelty or prompts.max_tokens, or use a stronger writer "
                "(prompts.source).",
            )
        written = _write_wave(stage, settings, pool, wave, endpoint)
        for attempt in written:
            pool.take(attempt)
        tokens += sum(attempt.tokens for attempt in written)
        attempts, wave = attempts + len(written), wave + 1
        say(f"prompts: {len(pool.accepted)} of {settings.count} accepted after {attempts} attempts")
    return tokens


def _write_wave(
    stage: Stage, settings: PromptsSettings, pool: TaskPool, wave: int, endpoint: Endpoint
) -> list[PromptAttempt]:
    """One wave of attempts, all with demonstrations from before the wave."""
    sampling, generated = settings.sampling(STOP), pool.earlier + [prompt.text for prompt in pool.accepted]
    requests = [
        Request(
            id := f"{wave}/{number}",
            [{"role": "user", "content": few_shot(_shots(settings, pool, generated, id), pool.language)}],
            sampling,
            seed_from(settings.seed, "prompt", len(pool.earlier), id),
        )
        for number in range(settings.wave)
    ]

    def make(request: Request, answer: Completion) -> PromptAttempt:
        return PromptAttempt(id=request.id, text=answer.text, finish_reason=answer.finish_reason, tokens=answer.tokens)

    asked = Batch(f"attempts-{wave}", PromptAttempt, requests, make, settings.concurrency)
    return list(complete(stage, endpoint, asked))


def _shots(settings: PromptsSettings, pool: TaskPool, generated: Sequence[str], attempt: str) -> list[str]:
    """Demonstrations: seeds plus generated ones; while too few are generated yet, seeds fill up."""
    draw = random.Random(seed_from(settings.seed, "shots", len(pool.earlier), attempt))
    chosen = draw.sample(generated, min(settings.generated_shots, len(generated)))
    wanted = settings.seed_shots + settings.generated_shots - len(chosen)
    chosen += draw.sample(pool.seeds, min(wanted, len(pool.seeds)))
    draw.shuffle(chosen)
    return chosen


def few_shot(shots: Sequence[str], language: str = ENGLISH) -> str:
    """The writer's prompt: the same length at every call, whatever was generated before."""
    instruction = INSTRUCTION if language == ENGLISH else INSTRUCTION + SAME_LANGUAGE
    tasks = [f"Task {number}: {' '.join(shot.split())}" for number, shot in enumerate(shots, 1)]
    return "\n".join([instruction, *tasks, f"Task {len(shots) + 1}:"])
