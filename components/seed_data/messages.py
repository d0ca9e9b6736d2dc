"""OpenAssistant's published forms, as one stream of messages.

Releases come as message trees (one tree a line: `prompt` with nested `replies`) and as a flat table of messages (JSON
Lines or Parquet). Which one a file is shows in its content and not in its name. Fields without a value may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from components.core.data_files import NO_UNICODE, is_parquet, read_json_lines, read_parquet_rows
from components.core.errors import UserError

PUBLISHED_FORMS = (
    "Give OpenAssistant's message trees (*.trees.jsonl) or its flat table of messages (*.messages.jsonl or Parquet) "
    "with message_id, parent_id, role, text, lang and rank."
)


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it holds a NUL character")
    return text


def _whole(id: str) -> str:
    if NO_UNICODE in id:
        raise ValueError("it holds what is no Unicode text")
    return id


def _whole_number(rank: Any) -> Any:
    """pandas writes a column of numbers with gaps as floats: 1.0."""
    return int(rank) if isinstance(rank, float) and rank.is_integer() else rank


Id = Annotated[str, Field(min_length=1), AfterValidator(_whole)]


class Message(BaseModel):
    """One message. A system message is a root before a first prompt, which OpenAssistant's own files have none of.

    `rank` 0 is the best of its siblings, None is "not ranked"; `parent_id` None is a tree's root."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    message_id: Id
    parent_id: Id | None = None
    role: Literal["system", "prompter", "assistant"]
    text: Annotated[str, AfterValidator(_without_nul)]
    lang: str | None = None
    rank: Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_whole_number)] = None
    deleted: bool | None = None
    review_result: bool | None = None
    synthetic: bool | None = None
    tree_state: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nan(cls, fields: Any) -> Any:
        """pandas writes NaN where there is no value; it is the one that is not itself."""
        return {name: None if value != value else value for name, value in fields.items()}


def read_messages(path: Path, name: str) -> Iterator[Message]:
    """Every message of the file, each tree's root before its replies where the file holds trees.

    Raises UserError, naming the file as `name` and the line or row, where something is of neither published form.
    """
    if is_parquet(path):
        for number, row in read_parquet_rows(path, name, Message.model_fields):
            yield _message(row, f"{name}, row {number}")
        return
    for number, line in read_json_lines(path, name):
        where = f"{name}, line {number}"
        for fields in _tree_messages(line, where) if "prompt" in line else (line,):
            yield _message(fields, where)


def _tree_messages(tree: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """The tree's messages as rows of the flat table: there the parent and the tree's state stand in each row."""
    waiting: list[tuple[Any, Any]] = [(tree["prompt"], None)]
    while waiting:
        node, parent_id = waiting.pop()
        if not isinstance(node, dict):
            raise UserError(f"{where}: a message of the tree is not an object", PUBLISHED_FORMS)
        yield node | {"parent_id": parent_id, "tree_state": tree.get("tree_state")}
        replies = node.get("replies") or []
        if not isinstance(replies, list):
            raise UserError(f"{where}: the replies of a message are not a list", PUBLISHED_FORMS)
        waiting += [(reply, node["message_id"]) for reply in reversed(replies)]


def _message(fields: dict[str, Any], where: str) -> Message:
    try:
        return Message.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{where} is not a message of a published form: {field}: {first['msg']}", PUBLISHED_FORMS
        ) from error
