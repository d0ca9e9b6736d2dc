"""First-turn prompts with their ranked replies, out of a stream of messages; whatever is left out is counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from components.core.records import Reply, SeedPrompt
from components.core.texts import normalised
from components.seed_data.messages import Message

# Only trees in this state are finished: in the others replies and ranks may be missing, or moderators stopped them.
READY = "ready_for_export"
PROMPT_DROPPED = "reply: its prompt was dropped"
DEEPER = "message: deeper than the first turn"


@dataclass
class FirstTurns:
    """Prompts in the file's order, each with at least one ranked reply and all of its ranks different, best first."""

    prompts: list[SeedPrompt] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    read: int = 0


def first_turns(messages: Iterable[Message], language: str) -> FirstTurns:
    """Group the usable messages. `read` = prompts + their replies + everything in `dropped`, in messages."""
    turns = FirstTurns()
    starts_tree: dict[str, bool] = {}  # by the id of each message: whether it is a tree's first prompt
    prompts: list[Message] = []
    replies: dict[str, list[Message]] = {}
    for message in messages:
        turns.read += 1
        reason = "message: duplicate id" if message.message_id in starts_tree else _unusable(message, language)
        starts_tree.setdefault(message.message_id, message.role == "prompter" and message.parent_id is None)
        if reason:
            turns.dropped[reason] += 1
        elif message.parent_id is None:
            prompts.append(message)
        else:
            replies.setdefault(message.parent_id, []).append(message)
    _add_prompts(turns, prompts, replies)
    for parent_id, orphans in replies.items():
        if parent_id not in starts_tree:
            turns.dropped["reply: its prompt is not in the file"] += len(orphans)
        else:
            turns.dropped[PROMPT_DROPPED if starts_tree[parent_id] else DEEPER] += len(orphans)
    return turns


def _unusable(message: Message, language: str) -> str | None:
    """Why the message can be no first-turn prompt and no reply, as far as it shows by itself."""
    root = message.parent_id is None
    reasons = {
        "message: tree not ready for export": message.tree_state not in (None, READY),
        DEEPER: message.role == "prompter" and not root,
        "message: answers nothing": message.role == "assistant" and root,
        "message: deleted": message.deleted,
        "message: review failed": message.review_result is False,
        "message: synthetic": message.synthetic,
        f"message: not in {language}": message.lang != language,
        "message: empty text": not message.text.strip(),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _add_prompts(turns: FirstTurns, prompts: Sequence[Message], replies: dict[str, list[Message]]) -> None:
    texts: set[str] = set()
    for prompt in prompts:
        ranked = _ranked(replies.pop(prompt.message_id, []), turns.dropped)
        text = normalised(prompt.text)
        if not ranked:
            turns.dropped["prompt: no ranked reply"] += 1
        elif text in texts:
            turns.dropped["prompt: duplicate text"] += 1
            turns.dropped[PROMPT_DROPPED] += len(ranked)
        else:
            texts.add(text)
            turns.prompts.append(SeedPrompt(id=prompt.message_id, text=prompt.text.strip(), replies=ranked))


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
