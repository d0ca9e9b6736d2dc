"""Between text and tokens: prompts in, answers out."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Iterable

import jinja2
from transformers import PreTrainedTokenizerFast

from components.base_model.chat import control_tokens


class PromptError(ValueError):
    """A prompt that cannot be made: no chat template, or the template refuses the messages."""


class Tokenizer:
    """A model's tokenizer, safe against control tokens in what people write.

    end_ids: the tokens that end an answer. Not thread-safe in `encode` and `encode_chat` (one caller: the event loop).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, end_ids: Iterable[int]) -> None:
        self.end_ids = frozenset(end_ids)
        self._tokenizer = tokenizer
        # A second backend that reads control tokens as plain characters.
        self._literal = copy.deepcopy(tokenizer.backend_tokenizer)
        self._literal.encode_special_tokens = True
        # The mark is secret, because content that could write it could also hide behind it.
        self._mark = f"\ue000{secrets.token_hex(8)}"
        self._controls = control_tokens(tokenizer)
        self._control_pattern = re.compile("|".join(map(re.escape, self._controls)) or r"(?!)")
        self._mark_pattern = re.compile(rf"{self._mark}:(\d+)\ue001")

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokens of a raw prompt. Control tokens in it count: the caller writes the template itself."""
        return tuple(self._tokenizer(text)["input_ids"])

    def encode_chat(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        """Tokens of a conversation, up to where the assistant answers.

        A control token written inside a message is read as its characters and so cannot close the turn; every other
        text gets exactly the tokens that `apply_chat_template` gives it.
        Raises PromptError when there is no template or the template refuses the messages.
        """
        if self._tokenizer.chat_template is None:
            raise PromptError(
                "this model has no chat template: send the finished prompt to /generate, "
                "or add chat_template to the model's tokenizer"
            )

        def mark(control: re.Match[str]) -> str:
            return f"{self._mark}:{self._controls.index(control.group())}\ue001"

        marked = [{**message, "content": self._control_pattern.sub(mark, message["content"])} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError as error:
            raise PromptError(f"the chat template refuses these messages: {error}") from error
        ids: list[int] = []
        # Splitting by a pattern with one group gives text, control, text, control, ...
        for index, part in enumerate(self._mark_pattern.split(str(text))):
            if index % 2:
                ids += self._literal.encode(self._controls[int(part)], add_special_tokens=False).ids
            elif part:
                ids += self._tokenizer.encode(part, add_special_tokens=False)
        return tuple(ids)

    def decode(self, ids: list[int]) -> str:
        """Text of generated tokens, control tokens left out."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def decode_token(self, token: int) -> str:
        """Text of one token as TGI reports it: a control token by its name, a part of a character as U+FFFD."""
        return str(self._tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))
