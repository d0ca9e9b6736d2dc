"""Prompts with their ranked replies, out of a stream of messages; whatever is left out is counted once.

Of the first turns alone, as the paper has it, or of all turns: then each user turn with ranked replies is a prompt, and
what came before it is its history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from components.core.records import Messages, Reply, SeedPrompt
from components.core.texts import normalised
from components.seed_data.messages import Message

# Only trees in this state are finished: in the others replies and ranks may be missing, or moderators stopped them.
READY = "ready_for_export"
PROMPT_DROPPED = "reply: its prompt was dropped"
DEEPER = "message: deeper than the first turn"
ROLES = {"system": "system", "prompter": "user", "assistant": "assistant"}  # as chat templates call them
FOLLOWS = {"prompter": ("system", "assistant"), "assistant": ("prompter",)}  # whose message each may follow


@dataclass
class Turns:
    """Prompts in the file's order, each with at least one ranked reply and all of its ranks different, best first.

    `conversations` has, by the id of each prompt, that of the first user turn of its conversation; `systems` is the
    number of system messages that stand before one of them.
    """

    prompts: list[SeedPrompt] = field(default_factory=list)
    conversations: dict[str, str] = field(default_factory=dict)
    systems: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    read: int = 0


class _Place(NamedTuple):
    """Of any message, usable or not."""

    role: str
    parent_id: str | None


def read_turns(messages: Iterable[Message], language: str, which: str = "first") -> Turns:
    """Group the usable messages; `which` is "first" or "all" turns.

    `read` = prompts + their replies + system messages before them + everything in `dropped`, in messages.
    """
    turns = Turns()
    places: dict[str, _Place] = {}
    usable: dict[str, Message] = {}
    for message in messages:
        turns.read += 1
        reason = "message: duplicate id" if message.message_id in places else _unusable(message, language)
        places.setdefault(message.message_id, _Place(message.role, message.parent_id))
        if reason:
            turns.dropped[reason] += 1
        else:
            usable[message.message_id] = message
    replies: dict[str, list[Message]] = {}
    for message in usable.values():
        if message.role == "assistant":
            replies.setdefault(str(message.parent_id), []).append(message)
    _add_prompts(turns, _with_path(turns, usable, places, which), replies)
    turns.dropped["message: no prompt after this system message"] += (
        sum(message.role == "system" for message in usable.values()) - turns.systems
    )
    for parent_id, orphans in replies.items():
        turns.dropped[_orphaned(parent_id, places, which)] += len(orphans)
    turns.dropped = +turns.dropped
    return turns


def _unusable(message: Message, language: str) -> str | None:
    """Why the message can be no part of a conversation, as far as it shows by itself."""
    if message.unusable:
        return message.unusable
    root = message.parent_id is None
    says_language = message.role != "system" or message.lang is not None
    reasons = {
        "message: tree not ready for export": message.tree_state not in (None, READY),
        "message: answers nothing": message.role == "assistant" and root,
        "message: a system message inside a conversation": message.role == "system" and not root,
        "message: deleted": message.deleted,
        "message: review failed": message.review_result is False,
        "message: synthetic": message.synthetic,
        f"message: not in {language}": says_language and message.lang != language,
        "message: empty text": not message.text.strip(),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _is_first(id: str, places: Mapping[str, _Place]) -> bool:
    """Whether the message is a conversation's first user turn: nothing, or a system message, comes before it."""
    role, parent_id = places[id]
    return role == "prompter" and (parent_id is None or places.get(parent_id, _Place("", None)).role == "system")


def _with_path(
    turns: Turns, usable: Mapping[str, Message], places: Mapping[str, _Place], which: str
) -> list[tuple[Message, list[Message]]]:
    """The user turns that may become prompts, each with the messages before it, and the count of the others."""
    found = []
    for message in usable.values():
        if message.role != "prompter":
            continue
        path = _path(message, usable)
        if which == "first" and not _is_first(message.message_id, places):
            turns.dropped[DEEPER] += 1
        elif path is None:
            turns.dropped["message: an earlier one of its conversation is missing or was dropped"] += 1
        else:
            found.append((message, path))
    return found


def _path(message: Message, usable: Mapping[str, Message]) -> list[Message] | None:
    """The messages before this one, oldest first; None where one is missing or speaks out of turn."""
    path: list[Message] = []
    while message.parent_id is not None:
        before = usable.get(message.parent_id)
        if before is None or before in path or before.role not in FOLLOWS[message.role]:
            return None
        path.append(before)
        message = before
    return path[::-1]


def _add_prompts(
    turns: Turns, prompts: Sequence[tuple[Message, list[Message]]], replies: dict[str, list[Message]]
) -> None:
    texts: set[tuple[str, ...]] = set()
    systems: set[str] = set()  # before a prompt that is kept
    for prompt, path in prompts:
        ranked = _ranked(replies.pop(prompt.message_id, []), turns.dropped)
        conversation = tuple(normalised(message.text) for message in [*path, prompt])
        if not ranked:
            turns.dropped["prompt: no ranked reply"] += 1
        elif conversation in texts:
            turns.dropped["prompt: duplicate text"] += 1
            turns.dropped[PROMPT_DROPPED] += len(ranked)
        else:
            texts.add(conversation)
            systems |= {message.message_id for message in path if message.role == "system"}
            first = next(message for message in [*path, prompt] if message.role == "prompter")
            turns.conversations[prompt.message_id] = first.message_id
            turns.prompts.append(
                SeedPrompt(id=prompt.message_id, text=prompt.text.strip(), replies=ranked, history=_history(path))
            )
    turns.systems = len(systems)


def _history(path: Sequence[Message]) -> Messages:
    return [{"role": ROLES[message.role], "content": message.text.strip()} for message in path]


def _ranked(replies: Sequence[Message], dropped: Counter[str]) -> list[Reply]:
    """The replies in strict human order: where two share a rank, which of them is better is not known."""
    same = Counter(reply.rank for reply in replies)
    kept: dict[int, Reply] = {}
    for reply in replies:
        if reply.rank is None:
            dropped["reply: not ranked"] += 1
        elif same[reply.rank] > 1:
            dropped["reply: tied rank"] += 1
        else:
            kept[reply.rank] = Reply(id=reply.message_id, text=reply.text.strip(), rank=reply.rank)
    return [kept[rank] for rank in sorted(kept)]


def _orphaned(parent_id: str, places: Mapping[str, _Place], which: str) -> str:
    """Why replies to this message belong to no prompt that could be kept."""
    if parent_id not in places:
        return "reply: its prompt is not in the file"
    if which == "first":
        return PROMPT_DROPPED if _is_first(parent_id, places) else DEEPER
    return PROMPT_DROPPED if places[parent_id].role == "prompter" else "reply: it answers no prompt"
