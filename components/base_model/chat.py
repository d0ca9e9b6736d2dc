"""A model's chat template: training text and served prompt must be one, and control tokens are no text (issue 12)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template
    from transformers import PreTrainedTokenizerBase

    from components.core.records import Messages

ANSWER = "A blue whale."  # no template trims it, and none holds it
ONE_TURN = [{"role": "user", "content": "What is large?"}]
TWO_TURNS = [*ONE_TURN, {"role": "assistant", "content": "The sea."}, {"role": "user", "content": "What else?"}]
WITH_SYSTEM = [{"role": "system", "content": "Answer in a word."}, *ONE_TURN]
TWICE = [*ONE_TURN, {"role": "user", "content": "And small?"}]
THOUGHT = "Whales are larger than ships are."
IN_FIELD, IN_TEXT = "reasoning_content", "<think>"  # where a message has its thought, as Qwen3 and DeepSeek take it
SHOWN = 60  # characters of a text from where it differs

# The messages of a template that knows no system role, or whose roles must alternate: a system message is said
# by the user, and what one role says in a row is one message, with a blank line between. It is written into the stored
# template, where every reader has it: training, our server, vLLM, and TGI, whose minijinja knows all that is used here.
_ROLES = """
{%- set turns = namespace(all=[]) -%}
{%- for message in messages -%}
{%- set role = ROLE -%}
{%- set text = message['content'] -%}
{%- if turns.all and turns.all[-1]['role'] == role -%}
{%- set text = turns.all[-1]['content'] ~ '\\n\\n' ~ text -%}
{%- set turns.all = turns.all[:-1] -%}
{%- endif -%}
{%- set turns.all = turns.all + [dict(message, role=role, content=text)] -%}
{%- endfor -%}
{%- set messages = turns.all -%}
"""
ALTERNATING = _ROLES.replace("ROLE", "message['role']").replace("\n", "")
NO_SYSTEM_ROLE = _ROLES.replace("ROLE", "'user' if message['role'] == 'system' else message['role']").replace("\n", "")


def in_users_turn(messages: Messages) -> Messages:
    """The messages as a model without a system role is asked, by the rule that is written into such templates."""
    return list(json.loads(_in_users_turn().render(messages=messages)))


@cache
def _in_users_turn() -> Template:
    from jinja2 import Template  # here, not above: steps that only ask servers seldom need it

    return Template(NO_SYSTEM_ROLE + "{{ messages | tojson }}")


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Every token that is read as a control token and not as its characters, the longest first.

    `all_special_tokens` names those with a role (eos, pad, ...); of Llama 3's 256 it leaves out nearly all.
    """
    tokens = {str(token) for token in tokenizer.all_special_tokens}
    tokens |= {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(tokens - {""}, key=lambda token: (-len(token), token))


def end_ids(tokenizer: PreTrainedTokenizerBase, configured: int | Iterable[int] | None) -> frozenset[int]:
    """The tokens that end an answer; `configured` is `eos_token_id` of the model's generation configuration."""
    of_model = [configured] if isinstance(configured, int) else configured or []
    of_tokenizer = [tokenizer.eos_token_id] if isinstance(tokenizer.eos_token_id, int) else []
    return frozenset([*of_model, *of_tokenizer])


def end_ids_of_files(folder: Path, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The same from a model's files, as servers read them: generation_config.json, without it config.json."""
    paths = [folder / name for name in ("generation_config.json", "config.json")]
    configured = [json.loads(path.read_text()).get("eos_token_id") for path in paths if path.is_file()]
    return end_ids(tokenizer, configured[0] if configured else None)


def with_arguments(template: str | Mapping[str, str], arguments: Mapping[str, Any]) -> Any:
    """The template (or each of several) with `chat_template_kwargs` written into it.

    Then whoever fills it in uses them: training, our server, vLLM, and TGI, which takes none with a request.
    """
    return _before("".join(f"{{% set {name} = {value!r} %}}" for name, value in arguments.items()), template)


def with_roles(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The tokenizer's template, with what it cannot do itself of a system message and of one role twice in a row.

    A template that leaves a message out without a word cannot do it either. It comes back as it is where it can, and
    where that would not help.
    """
    known: Any = tokenizer.chat_template
    try:
        for rule, asked in ((NO_SYSTEM_ROLE, WITH_SYSTEM), (ALTERNATING, TWICE)):
            if _shows(tokenizer, asked):
                continue
            tokenizer.chat_template = _before(rule, known)
            if _shows(tokenizer, asked):
                return tokenizer.chat_template
        return known
    finally:
        tokenizer.chat_template = known


def _before(written: str, template: str | Mapping[str, str]) -> Any:
    """The template, or each of several, behind what is written."""
    if isinstance(template, str):
        return written + template
    return {name: written + one for name, one in template.items()}


def _shows(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> bool:
    """Whether the template takes these messages, and shows every one of them."""
    from jinja2 import TemplateError

    try:
        text = _text(tokenizer, messages)
    except TemplateError:
        return False
    return all(message["content"] in text for message in messages)


def roles_not_shown(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What a conversation may hold that this template refuses, or leaves out without a word."""
    asked = {"several turns": TWO_TURNS, "a system message": WITH_SYSTEM, "one role twice in a row": TWICE}
    return [what for what, messages in asked.items() if not _shows(tokenizer, messages)]


def answer_message(text: str, thought: str = "", form: str = "") -> dict[str, str]:
    """An answer to train on, with its thought in the `form` that `thought_form` found; without one the answer alone."""
    if form == IN_TEXT and thought:
        text = f"<think>\n{thought}\n</think>\n\n{text}"
    answer = {"role": "assistant", "content": text}
    return answer | {IN_FIELD: thought} if form == IN_FIELD else answer


def thought_form(tokenizer: PreTrainedTokenizerBase) -> str:
    """Where this template takes the thought of the last answer: in a field of the message, or in its text where the
    tokenizer has tokens for its beginning and end. "" where it has no place for one."""
    from jinja2 import TemplateError

    tags, controls = {"<think>", "</think>"}, set(control_tokens(tokenizer))
    known = tags <= set(tokenizer.get_added_vocab()) and not tags & controls
    for form in (IN_FIELD, IN_TEXT) if known else (IN_FIELD,):
        with suppress(TemplateError):
            text = _text(tokenizer, [*ONE_TURN, answer_message(ANSWER, THOUGHT, form)])
            if text.count(THOUGHT) == text.count(ANSWER) == 1 and text.index(THOUGHT) < text.index(ANSWER):
                return form
    return ""


def chat_problem(tokenizer: PreTrainedTokenizerBase, ends: frozenset[int], form: str = "") -> str:
    """Why a model that is trained on this template's text would not be the one that is served; "" where it would.

    What is trained on must be the served prompt, the answer, and a token at which a server stops, in this order and
    token by token, after one turn and, where the template knows them, after two and after a system message. With a
    `form` the answer has a thought, which stands between.
    """
    from jinja2 import TemplateError

    try:
        problems = [_difference(tokenizer, ONE_TURN, ends, form)]
    except TemplateError as error:
        return f"the chat template refuses a question with its answer ({error})"
    for asked in (TWO_TURNS, WITH_SYSTEM):
        with suppress(TemplateError):  # a template for single questions; one without a system role
            problems.append(_difference(tokenizer, asked, ends, form))
    return next(filter(None, problems), "")


def _difference(tokenizer: PreTrainedTokenizerBase, asked: Messages, ends: frozenset[int], form: str) -> str:
    answered = [*asked, answer_message(ANSWER, THOUGHT if form else "", form)]
    prompt, text = _text(tokenizer, asked), _text(tokenizer, answered)
    if not text.startswith(prompt):
        return _parting(prompt, text)
    before, _, after = text[len(prompt) :].partition(ANSWER)
    if before.strip() and not (form and THOUGHT in before):
        return f"training text has {before[:SHOWN]!r} between the served prompt and the answer"
    names = [str(tokenizer.convert_ids_to_tokens(end)) for end in sorted(ends)]
    if not _ends(after, names, control_tokens(tokenizer)):
        stops = " or ".join(map(repr, names)) or "no token at all"
        return f"an answer that is trained on ends with {after[:SHOWN]!r}, and a server stops at {stops}"
    prompt_ids, ids = _ids(tokenizer, asked), _ids(tokenizer, answered)
    if ids[: len(prompt_ids)] != prompt_ids:
        return _parting(tokenizer.convert_ids_to_tokens(prompt_ids), tokenizer.convert_ids_to_tokens(ids))
    if not ends & set(ids[len(prompt_ids) :]):
        return f"the tokenizer reads the end of an answer, {after.strip()[:SHOWN]!r}, as characters"
    return ""


def _ends(after: str, names: Sequence[str], controls: Sequence[str]) -> bool:
    """Whether one of `names` comes next after the answer. Control tokens before it are in no server's text."""
    harmless, stops = ("|".join(map(re.escape, tokens)) for tokens in (controls, names))
    return bool(names) and re.match(rf"(?:\s|{harmless or ' '})*?(?:{stops})", after) is not None


def _parting(served: Any, trained: Any) -> str:
    """Two texts (or lists of tokens) from where they differ."""
    same = next((n for n, (one, other) in enumerate(zip(served, trained, strict=False)) if one != other), 0)
    in_prompt, in_training = served[same:][:SHOWN], trained[same:][:SHOWN]
    return f"after the same beginning the served prompt has {in_prompt!r} and training text {in_training!r}"


def _text(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """As a server fills the template in where the assistant is to answer; as training does where it has answered."""
    asked = messages[-1]["role"] == "user"
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked))


def _ids(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    asked = messages[-1]["role"] == "user"
    encoded: Any = tokenizer.apply_chat_template(messages, return_dict=True, add_generation_prompt=asked)
    return list(encoded["input_ids"])
