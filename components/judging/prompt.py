"""The judge prompt (Yuan et al. 2024, figure 2, in our words): filled so that hostile text stays in its slot."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from components.core.errors import UserError
from components.core.hashing import content_hash
from components.core.records import Messages, conversation
from components.judging.parser import BUILT_IN_FORMAT, ScoreFormat

BUILT_IN = Path(__file__).with_name("judge_prompt.txt")
SLOTS = ("instruction", "response")
# What could end a slot early or speak as a chat template: our own tags, and control tokens of the common templates.
_TAG = re.compile(r"<(?=\s*+/?\s*+(?:instruction|response))", re.IGNORECASE)
# <|...|> of ChatML and many others, with DeepSeek's bars, too; Llama 2, Mistral, Gemma, EXAONE, GLM, Baichuan.
_CONTROL = re.compile(
    r"<(?=[|\uff5c])|<(?=/?s>)|<(?=</?SYS>)|<(?=/?(?:start|end)_of_(?:turn|image)>)|<(?=(?:bos|eos|pad|unk|mask|sop|eop)>)"
    r"|<(?=reserved_\d)|\[(?=\|)|\[(?=/?(?:INST|AVAILABLE_TOOLS|TOOL_\w{1,10}|SYSTEM_PROMPT|MODEL_SETTINGS|[gs]?MASK)\])",
    re.IGNORECASE,
)
_ESCAPES = {"<": "&lt;", "[": "&#91;"}


def with_slots(template: str, slots: Sequence[str]) -> str:
    """The template of a setting; raises ValueError where it does not hold each slot exactly once."""
    for slot in slots:
        if template.count(f"{{{slot}}}") != 1:
            raise ValueError(f"must hold {{{slot}}} exactly once")
    return template


@dataclass(frozen=True)
class JudgePrompt:
    """A template with the slots `{instruction}` and `{response}`, once each, and how its judge writes the score.

    Raises UserError where a slot is missing or stands twice.
    """

    template: str
    score_format: ScoreFormat = BUILT_IN_FORMAT

    def __post_init__(self) -> None:
        wrong = [slot for slot in SLOTS if self.template.count(f"{{{slot}}}") != 1]
        if wrong:
            raise UserError(
                f"the judge prompt must hold {{{wrong[0]}}} exactly once",
                "Correct the file that judging.prompt names.",
            )

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.template.encode()).hexdigest()

    def identity(self) -> str:
        """A hash of the template and the score's format; with the built-in format it is the template's own."""
        if self.score_format == BUILT_IN_FORMAT:
            return self.sha256
        written = self.score_format
        return content_hash([self.sha256, written.pattern, written.lowest, written.highest])

    def fill(self, instruction: str, response: str) -> str:
        """The prompt for one response. Both texts are untrusted."""
        before, _, rest = self.template.partition("{instruction}")
        between, _, after = rest.partition("{response}")
        if "{response}" in before:  # a template of one's own may show the response first
            first, _, second = before.partition("{response}")
            return first + neutralise(response) + second + neutralise(instruction) + rest
        return before + neutralise(instruction) + between + neutralise(response) + after


def transcript(history: Messages, text: str) -> str:
    """What a judge is shown as the instruction: the user's text; after a history the whole conversation up to it,
    message by message, each behind its role.
    """
    if not history:
        return text
    messages = conversation(history, text)
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in messages)


def neutralise(text: str) -> str:
    """Untrusted text that can neither close its slot nor write a chat template's control tokens."""
    return without_control_tokens(_TAG.sub("&lt;", text))


def without_control_tokens(text: str) -> str:
    """Untrusted text that begins or ends no turn."""
    return _CONTROL.sub(lambda match: _ESCAPES[match[0]], text)


def built_in_judge_prompt() -> JudgePrompt:
    """The prompt that ships with the package."""
    return JudgePrompt(BUILT_IN.read_text())
