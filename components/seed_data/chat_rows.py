"""Rows as chat fine-tuning has them (TRL's "dataset formats"), as messages of OpenAssistant's kind.

`messages` is a conversation whose answers are to be imitated, `prompt` with `completion` one such answer, `chosen` with
`rejected` two that people have ranked. Each is a text or a list of messages with `role` and `content`; the prompt of
`chosen` and `rejected` may stand before the answers in both, as in TRL's implicit prompts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from components.core.errors import UserError
from components.core.hashing import short_id

OPEN_ASSISTANT = "OpenAssistant's messages"
PREFERENCE, CONVERSATION, COMPLETION = "chosen and rejected", "messages", "prompt and completion"
# A row with the fields of several is of the first: published preferences often repeat the best answer as `messages`.
FIELDS = {PREFERENCE: ("chosen", "rejected"), CONVERSATION: ("messages",), COMPLETION: ("prompt", "completion")}
COLUMNS = ("messages", "prompt", "completion", "chosen", "rejected", "label", "lang")
ROLES = {"system": "system", "user": "prompter", "assistant": "assistant"}
KNOWN_FORMS = (
    "Give OpenAssistant's message trees (*.trees.jsonl) or its flat table (message_id, parent_id, role, text, lang, "
    "rank), or one object a line with messages, with prompt and completion, or with prompt, chosen and rejected, each "
    "a text or a list of messages with role and content."
)


class Node(NamedTuple):
    """One message of a row; `parent` is the place of the one before it, `rank` as OpenAssistant's."""

    parent: int | None
    role: str
    text: str | None
    rank: int | None


def form_of(row: Mapping[str, Any]) -> str:
    """The form that the row's fields are of, "" where they are of none."""
    given = {name for name, value in row.items() if value is not None and value == value}
    if "message_id" in given or isinstance(row.get("prompt"), dict):
        return OPEN_ASSISTANT
    return next((form for form, fields in FIELDS.items() if given.issuperset(fields)), "")


def messages_of(row: Mapping[str, Any], form: str, language: str, where: str) -> Iterator[dict[str, Any]]:
    """The row's messages as rows of OpenAssistant's table, in `language` unless the row says another (`lang`).

    Where the row can be no part of the data, `unusable` says why, in each of its messages. Raises UserError, naming the
    place as `where`, for values that are neither text nor messages.
    """
    row = {name: value for name, value in row.items() if value == value}  # without pandas' NaN
    nodes, why = _nodes(row, form, where)
    id, reason = short_id(form, json.dumps(nodes)), why or _unusable(nodes)
    for number, node in enumerate(nodes):
        yield {
            "message_id": f"{id}-{number}",
            "parent_id": None if node.parent is None else f"{id}-{node.parent}",
            "role": ROLES.get(node.role, "prompter"),
            "text": node.text or "",
            "lang": row.get("lang") or language,
            "rank": node.rank,
            "unusable": reason,
        }


def _nodes(row: Mapping[str, Any], form: str, where: str) -> tuple[list[Node], str]:
    """The row's messages, and why they are of no use, "" where nothing is known yet."""
    if form == CONVERSATION:
        return _chain(_said(row, "messages", "user", where), rank=0), ""
    if form == COMPLETION:
        prompt = _chain(_said(row, "prompt", "user", where))
        bad = "message: its row's label says that the completion is bad" if row.get("label") is False else ""
        return _chain(_said(row, "completion", "assistant", where), prompt, rank=0), bad
    return _preference(row, where)


def _preference(row: Mapping[str, Any], where: str) -> tuple[list[Node], str]:
    """The prompt, then the chosen reply (rank 0) and the rejected one (rank 1); two that are alike have no order."""
    chosen, rejected = (_said(row, name, "assistant", where) for name in ("chosen", "rejected"))
    same = 0  # messages at the beginning of both: the prompt, where it is told there
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    given = _said(row, "prompt", "user", where) if row.get("prompt") is not None else chosen[:same]
    if not given:
        raise UserError(f"{where} has texts that were chosen and rejected, and no prompt", KNOWN_FORMS)
    whole = not same or given == chosen[:same][-len(given) :]
    prompt = _chain(chosen[:same] if same and whole else given)
    replies = [*chosen[same:], *rejected[same:]]
    nodes = prompt + [
        Node(len(prompt) - 1, role, text, 0 if n == 0 or replies[0] == replies[1] else 1)
        for n, (role, text) in enumerate(replies)
    ]
    each_one = len(replies) == 2 and {role for role, _ in replies} == {"assistant"}
    if whole and each_one and prompt[-1].role == "user":
        return nodes, ""
    return nodes, "message: chosen and rejected of its row are not one reply each to the same prompt"


def _said(row: Mapping[str, Any], name: str, role: str, where: str) -> list[tuple[str, str | None]]:
    """Role and text of each message in a field; a text alone is said by `role`. None is a message without text."""
    value = row[name]
    if isinstance(value, str):
        return [(role, value)]
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) and "role" in one for one in value):
        allowed = "a list of messages" if name == "messages" else "text or a list of messages"
        raise UserError(f"{where}: {name} must be {allowed} with role and content", KNOWN_FORMS)
    return [(str(one["role"]), _text(one.get("content"), f"{where}: {name}")) for one in value]


def _text(content: Any, where: str) -> str | None:
    """The text of a message; of a list of parts that are all text, their texts; None of images and calls of tools."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise UserError(f"{where}: the content of a message is no text", KNOWN_FORMS)
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    return "".join(map(str, texts)) if len(texts) == len(content) and None not in texts else None


def _chain(said: Sequence[tuple[str, str | None]], before: Sequence[Node] = (), rank: int | None = None) -> list[Node]:
    """Each message answers the one before it; `rank` is that of the assistant's."""
    nodes = list(before)
    for role, text in said:
        nodes.append(Node(len(nodes) - 1 if nodes else None, role, text, rank if role == "assistant" else None))
    return nodes


def _unusable(nodes: Sequence[Node]) -> str | None:
    """Why a row's messages are no conversation; None where they are one."""
    roles = [node.role for node in nodes]
    turns = roles[1:] if roles[0] == "system" else roles
    if strange := sorted(set(roles) - set(ROLES)):
        return f"message: its row has a message by {strange[0]}"
    if any(node.text is None for node in nodes):
        return "message: its row has a message without text"
    branches = 1 if sum(node.parent == len(nodes) - 3 for node in nodes) == 2 else 0  # chosen and rejected
    expected = ["user", "assistant"] * len(turns)
    if turns[: len(turns) - branches] != expected[: len(turns) - branches]:
        return "message: its row's user and assistant do not take turns"
    return None
