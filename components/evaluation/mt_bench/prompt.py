"""The judge prompts of single-answer grading (Zheng et al. 2023), filled so that texts stay in their slots."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from components.core.hashing import content_hash
from components.core.records import Messages
from components.evaluation.mt_bench.records import Answer
from components.judging.prompt import neutralise

# FastChat's NEED_REF_CATS: graded against a reference answer.
REFERENCE_CATEGORIES = frozenset({"math", "reasoning", "coding"})
_SECOND_TURN = {"question_1", "answer_1", "question_2", "answer_2"}
SLOTS = {
    "single-v1": {"question", "answer"},
    "single-math-v1": {"question", "answer", "ref_answer_1"},
    "single-v1-multi-turn": _SECOND_TURN,
    "single-math-v1-multi-turn": _SECOND_TURN | {"ref_answer_1", "ref_answer_2"},
}
_SLOT = re.compile(r"\{(\w+)\}")
# The prompts' own delimiters: "[The Start of Assistant's Answer]", "<|The End of ...|>", "### User:".
_BRACKET = re.compile(r"\[(?=\s*(?:the\s+(?:start|end)\s+of\b|question\s*\]|instruction\s*\]))", re.IGNORECASE)
_ANGLE = re.compile(r"<(?=\s*\|)")
# no fewer than two: "# user: a name" is a comment in code
_HEADING = re.compile(r"(?<!#)#{2,}+(?=\s*+(?:user|assistant(?:\s+[ab])?|reference\s+answer)\s*:)", re.IGNORECASE)


class JudgePrompt(BaseModel):
    """A line of judge_prompts.jsonl; the prompts for pairs look the same."""

    model_config = ConfigDict(frozen=True)

    name: str
    system_prompt: str
    prompt_template: str

    @property
    def sha256(self) -> str:
        return content_hash([self.system_prompt, self.prompt_template])

    @property
    def slots(self) -> set[str]:
        return set(_SLOT.findall(self.prompt_template))

    def messages(self, slots: Mapping[str, str]) -> Messages:
        """The filled prompt; every text in a slot is untrusted."""
        # one pass over the template: a slot's name inside a text is left alone
        filled = _SLOT.sub(lambda slot: keep_in_slot(slots[slot[1]]), self.prompt_template)
        return [{"role": "system", "content": self.system_prompt}, {"role": "user", "content": filled}]


def keep_in_slot(text: str) -> str:
    """Text that can forge neither the judge prompts' delimiters nor a chat template's control tokens."""
    text = _ANGLE.sub("&lt;", _BRACKET.sub("&#91;", neutralise(text)))
    return _HEADING.sub(lambda marks: "&#35;" * len(marks[0]), text)


def prompt_name(answer: Answer) -> str:
    """Which of the four prompts grades this answer."""
    return f"single{'-math' * (answer.category in REFERENCE_CATEGORIES)}-v1{'-multi-turn' * (answer.turn == 2)}"


def slots_of(answer: Answer, first: Answer, reference: tuple[str, str] | None) -> dict[str, str]:
    """The texts for the slots: `first` is the answer to turn 1 of the same question, `answer` itself in turn 1."""
    references = {f"ref_answer_{turn}": text for turn, text in enumerate(reference or (), start=1)}
    if answer.turn == 1:
        return {"question": answer.prompt, "answer": answer.text} | references
    return {
        "question_1": first.prompt,
        "answer_1": first.text,
        "question_2": answer.prompt,
        "answer_2": answer.text,
    } | references
