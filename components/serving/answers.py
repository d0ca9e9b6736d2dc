"""What an answer is: one choice of a chat completion, read as its text, its reasoning and how it ended (issue 13)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STOP, LENGTH = "stop", "length"
PROMPT_TOO_LONG = "prompt_too_long"
CONTENT_FILTER = "content_filter"
NO_FINISH_REASON = "no finish reason"
NO_ANSWER = "no answer after its reasoning"
CUT_IN_THOUGHT = "cut off in its thought (raise reasoning_tokens, and the server's context)"
NO_TEXT = "no text"
REFUSAL = "refusal"
# Requests that got no choice at all
REFUSED, SERVER_ERROR = "refused by the endpoint", "error of the endpoint"

# What engines call the two ends at which there is a text: TGI's, Anthropic's, Google's and Mistral's names.
_ENDS = dict.fromkeys(("stop", "eos_token", "eos", "stop_sequence", "end_turn"), STOP) | dict.fromkeys(
    ("length", "model_length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_completion_tokens"), LENGTH
)
_OPENED = re.compile(r"\s*(?:<(think|thinking|thought|reasoning|seed:think)>|\[(THINK)\]|◁(think)▷)", re.IGNORECASE)
# The end of a thought that the template opened; in quotation marks it is only spoken of.
_CLOSED = re.compile(r"(?<![`'\"])(?:</(?:think|thinking|seed:think)>|\[/THINK\]|◁/think▷)(?![`'\"])")
_LINE_BLOCK = re.compile(r"^<think>.*?</think>[ \t]*\n?", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^[^\S\n]*```", re.MULTILINE)
# gpt-oss, where its server does not take its channels apart
_FINAL = re.compile(r"<\|channel\|>final<\|message\|>(.*?)(?:<\|return\|>|<\|end\|>|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """`text` is "" where nothing was answered: then `finish_reason` says why, and is neither "stop" nor "length" unless
    nothing was written. `reasoning` is what was thought before, "" where it is not told; `thought`: whether it was."""

    text: str
    finish_reason: str
    reasoning: str = ""
    thought: bool = False


def unanswered(finish_reason: str) -> str | None:
    """Why there is no answer, in words; None where there is one, whole ("stop") or cut off ("length")."""
    if finish_reason in (STOP, LENGTH):
        return None
    return "prompt too long" if finish_reason == PROMPT_TOO_LONG else finish_reason


def read_choice(choice: Mapping[str, Any]) -> Answer:
    """The answer of one choice. Only known ends count as such; every other one is called by its own name."""
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    content, thoughts, refused = _parts(message.get("content"))
    in_text = "" if content is None else content
    thought, text = split_reasoning(in_text)
    reasoning = "\n".join(part for part in (_field(message), thoughts, thought or "") if part)
    end = _end(choice.get("finish_reason"))
    if end not in (STOP, LENGTH):
        return Answer("", end, reasoning)
    if refused or message.get("refusal"):
        return Answer("", REFUSAL, reasoning)
    if text is None or (not text.strip() and reasoning):  # it thought, and that is all
        return Answer("", LENGTH if end == LENGTH else NO_ANSWER, reasoning, thought=True)
    if content is None and not text:
        calls = "tool_calls" if message.get("tool_calls") else NO_TEXT
        # Servers that take thoughts off the text give none while there is no more than a thought.
        return Answer("", LENGTH if end == LENGTH else calls, reasoning, thought=calls == NO_TEXT and end == LENGTH)
    return Answer(text, end, reasoning, thought=bool(reasoning))


def split_reasoning(text: str) -> tuple[str, str | None]:
    """The thought that a text begins with, and what comes behind it: None where the thought does not end.

    A text without one comes back as it is.
    """
    if final := _FINAL.search(text):
        return text[: final.start()], final[1].strip()
    thoughts: list[str] = []
    rest = text
    while opened := _OPENED.match(rest):
        closing = _closing(opened)
        thought, closed, behind = _partition(rest[opened.end() :], closing)
        thoughts.append(thought.strip())
        if not closed:
            return "\n".join(thoughts), None
        rest = behind.lstrip()
    if thoughts:
        return "\n".join(thoughts), rest
    if "<|channel|>analysis<|message|>" in text:
        return text, None
    return _opened_by_template(text)


def _opened_by_template(text: str) -> tuple[str, str | None]:
    """A thought whose beginning stood in the prompt, or one in the middle; an example in a code block is none."""
    closed = _CLOSED.search(text)
    if not closed or len(_FENCE.findall(text[: closed.start()])) % 2:
        return "", text
    if re.search(r"<think(ing)?>", text[: closed.start()], re.IGNORECASE):
        without = _LINE_BLOCK.sub("", text)
        return ("", text) if without == text else ("\n".join(_LINE_BLOCK.findall(text)), without.strip())
    return text[: closed.start()].strip(), text[closed.end() :].lstrip()


def _closing(opened: re.Match[str]) -> str:
    tag, bracket, kimi = opened.groups()
    return f"</{tag}>" if tag else f"[/{bracket}]" if bracket else f"◁/{kimi}▷"


def _partition(text: str, mark: str) -> tuple[str, bool, str]:
    """Before the mark, whether it is there (in any case), and behind it."""
    place = text.lower().find(mark.lower())
    return (text, False, "") if place < 0 else (text[:place], True, text[place + len(mark) :])


def _parts(content: Any) -> tuple[str | None, str, bool]:
    """A content's text, its thoughts, and whether it holds a refusal; None is no text at all, not an empty one."""
    if content is None or isinstance(content, str):
        return content, "", False
    texts: list[str] = []
    thoughts: list[str] = []
    refused = False
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind in ("thinking", "reasoning", "thought", "reasoning_content"):
            thoughts.append(
                _plain(part.get("thinking") or part.get("text") or part.get("summary") or part.get("content"))
            )
        elif kind in ("text", "output_text"):
            texts.append(_plain(part))
        refused = refused or kind == "refusal"
    return ("".join(texts) if texts else None), "\n".join(thoughts), refused


def _plain(part: Any) -> str:
    """The text of a part, however deep it lies."""
    if isinstance(part, list):
        return "".join(map(_plain, part))
    if isinstance(part, dict):
        return _plain(part.get("text") or part.get("value") or part.get("summary") or "")
    return part if isinstance(part, str) else ""


def _field(message: Mapping[str, Any]) -> str:
    """Reasoning that a server took out of the text itself, under the names of vLLM, OpenRouter, LiteLLM and Ollama."""
    for name in ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks"):
        value = message.get(name)
        if isinstance(value, list):
            value = "".join(
                _plain(part.get("thinking") or part) if isinstance(part, dict) else _plain(part) for part in value
            )
        if text := _plain(value):
            return text
    return ""


def _end(reason: Any) -> str:
    """The name of an end: "stop" and "length" for what engines call the same, else what the server says."""
    if not isinstance(reason, str) or not reason.strip():
        return NO_FINISH_REASON
    name = " ".join(reason.split())[:40]
    return _ENDS.get(name.lower(), name)
