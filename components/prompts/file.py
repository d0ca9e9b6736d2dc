"""The prompts of a round from a file, single or with the conversation before them.

Each round takes its own share, in the file's order, never one twice.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from components.core.data_files import read_json_lines
from components.core.errors import UserError
from components.core.hashing import short_id
from components.core.records import Counts, Manifest, Messages, Prompt
from components.core.sources import fetch
from components.core.stage import Stage, parent, read_records
from components.core.wrong_values import first_mistake
from components.prompts.settings import PromptsSettings
from components.seed_data.contamination import TOO_CLOSE, EvaluationTexts, read_evaluation_texts

FORM = (
    'Give one object a line: {"prompt": "..."}, or {"messages": [...]} with role and content of each: a system message '
    "or none, then user and assistant in turn, the user last."
)


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


CONVERSATION = TypeAdapter(list[_Message])


def take_prompts(
    root: str, settings: PromptsSettings, earlier: Sequence[str], seed_data: str = "", evaluation_texts: str = ""
) -> Manifest:
    """The prompts stage of a round with `source: file`; `earlier` are the prompts stages of the rounds before.

    Prompts too close to an evaluation text, or to a prompt that the seed data hold out, are dropped. Raises
    UserError when the file has fewer than `count` prompts left.
    """
    with fetch(str(settings.file)) as source:
        inputs = {"file": source.parent()}
        inputs |= {f"earlier_{number}": parent(uri) for number, uri in enumerate(earlier, 1)}
        inputs |= {"seed_data": parent(seed_data)} if seed_data else {}
        inputs |= {"evaluation_texts": parent(evaluation_texts)} if evaluation_texts else {}
        stage = Stage(root, "prompts", settings, inputs)
        if stage.manifest:
            return stage.manifest
        prompts, dropped = _read_prompts(source.path, source.name)
    prompts = _without_evaluation_texts(prompts, dropped, read_evaluation_texts(evaluation_texts, seed_data))
    used = {prompt.id for uri in earlier for prompt in read_records(uri, "prompts", Prompt)}
    unseen = [prompt for prompt in prompts if prompt.id not in used]
    if len(unseen) < settings.count:
        raise UserError(
            f"{source.name} has {len(unseen)} prompts left, {len(used)} were used, prompts.count is {settings.count}",
            "Give a file with more prompts, or lower prompts.count or rounds.",
        )
    dropped["prompt: used by an earlier round"] = len(prompts) - len(unseen)
    dropped["prompt: left for later rounds"] = len(unseen) - settings.count
    kept = unseen[: settings.count]
    return stage.publish(Counts(kept={"prompts": len(kept)}, dropped=dict(+dropped)), {"prompts": kept})


def _without_evaluation_texts(
    prompts: Sequence[Prompt], dropped: Counter[str], evaluation: EvaluationTexts
) -> list[Prompt]:
    """The others are counted as dropped, by evaluation set."""
    too_close = {prompt.id: evaluation.too_close(prompt.text, prompt.history) for prompt in prompts}
    dropped.update(f"prompt: {TOO_CLOSE}{name}" for name in too_close.values() if name)
    return [prompt for prompt in prompts if not too_close[prompt.id]]


def _read_prompts(path: Path, name: str) -> tuple[list[Prompt], Counter[str]]:
    """The file's different prompts, and what was dropped by reason; a line that holds none is a UserError."""
    prompts: dict[str, Prompt] = {}
    dropped: Counter[str] = Counter()
    for number, line in read_json_lines(path, name):
        prompt = _prompt(line, f"{name}, line {number}")
        dropped["prompt: given twice"] += prompt.id in prompts
        prompts[prompt.id] = prompt
    return list(prompts.values()), dropped


def _prompt(line: Mapping[str, Any], where: str) -> Prompt:
    """The text `prompt`, or the conversation `messages`, whose last message a model is to answer."""
    if "messages" in line:
        *history, last = _conversation(line["messages"], where)
        asked = last["content"]
        id = short_id(asked, json.dumps(history)) if history else short_id(asked)
        return Prompt(id=id, text=asked, history=history)
    text = line.get("prompt")
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where} has no text `prompt`", FORM)
    return Prompt(id=short_id(text), text=text)


def _conversation(messages: Any, where: str) -> Messages:
    """As it stands in the file, without other fields; UserError where it is none that ends with the user's turn."""
    try:
        read = CONVERSATION.validate_python(messages)
    except ValidationError as error:
        raise UserError(f"{where}: {first_mistake(error, ['messages'])}", FORM) from error
    roles = " ".join(message.role for message in read)
    if not re.fullmatch("(system )?user( assistant user)*", roles):
        raise UserError(f"{where}: its messages are by {roles.replace(' ', ', ') or 'nobody'}", FORM)
    return [message.model_dump() for message in read]
