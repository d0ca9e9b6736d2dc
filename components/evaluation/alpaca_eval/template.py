"""What the annotator is asked with: AlpacaEval's own template where it is there, else ours.

AlpacaEval's figures are those of its annotator weighted_alpaca_eval_gpt4_turbo: a system and a user turn in ChatML,
texts put in as they are, the tokens m and M. With other words the same model prefers differently, so a figure says
which were used, and their hash is an input of its stage.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from components.core.errors import UserError
from components.core.records import Messages, Parent
from components.judging.prompt import neutralise, without_control_tokens

SLOTS = ("instruction", "output_1", "output_2")
PACKAGED = "evaluators_configs/alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt"  # in alpaca_eval
OFFICIAL = "784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62"  # its SHA-256 in alpaca_eval 0.6
_TURN = re.compile(r"<\|im_start\|>(\w+)\n((?:(?!<\|im_start\|>).)*?)<\|im_end\|>", re.DOTALL)
_SLOT = re.compile(rf"\{{({'|'.join(SLOTS)})\}}")
_OUTPUT_TAG = re.compile(r"<(?=\s*+/?\s*+output)", re.IGNORECASE)


@dataclass(frozen=True)
class Template:
    """A prompt for the annotator; `source` says where it is from, "" is our own (one user turn, in which tags mark the
    slots)."""

    text: str
    source: str = ""

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def official(self) -> bool:
        return self.sha256 == OFFICIAL

    def parent(self) -> Parent:
        """As an input of the stage."""
        return Parent(uri=self.source or "our own template", digest=self.sha256)

    def messages(self, instruction: str, first: str, second: str) -> Messages:
        """The filled turns. The texts are untrusted: none can begin a turn or, in our own template, leave its slot."""
        slots = dict(zip(SLOTS, (instruction, first, second), strict=True))
        if not self.source:
            slots = {name: _OUTPUT_TAG.sub("&lt;", neutralise(text)) for name, text in slots.items()}
        # one pass over the template: a slot's name inside a text is left alone
        turns = [("user", self.text)] if not self.source else _TURN.findall(self.text)
        return [
            {"role": role, "content": _SLOT.sub(lambda slot: without_control_tokens(slots[slot[1]]), text.strip("\n"))}
            for role, text in turns
        ]


OWN = Template(Path(__file__).with_name("annotator_prompt.txt").read_text())


def annotator_template(given: str) -> Template:
    """The recipe's, where it gives one ("own" is ours), else that of alpaca_eval, where it is installed, else ours.

    Raises UserError where the recipe's is not in AlpacaEval's form.
    """
    if given in ("", "own"):
        return (_packaged() if not given else None) or OWN
    turns = dict(_TURN.findall(given))
    missing = [slot for slot in SLOTS if turns.get("user", "").count(f"{{{slot}}}") != 1]
    if missing:
        raise UserError(
            f"the annotator's template must hold {{{missing[0]}}} exactly once in its user turn",
            "annotation.template takes AlpacaEval's form, <|im_start|>user ... <|im_end|>: its alpaca_eval_clf.txt.",
        )
    return Template(given, "the recipe's annotation.template")


def _packaged() -> Template | None:
    """Found without an import, which would load pandas and half a dozen clients."""
    package = importlib.util.find_spec("alpaca_eval")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (path := Path(folder) / PACKAGED).is_file():
            return Template(path.read_text(), f"alpaca_eval {importlib.metadata.version('alpaca_eval')}")
    return None
