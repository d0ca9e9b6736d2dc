"""Human messages of every form that is read, as one stream: OpenAssistant's, and rows of chat fine-tuning.

OpenAssistant's releases come as message trees (one tree a line: `prompt` with nested `replies`) and as a flat table of
messages. Which form a file is of shows in its content and not in its name. Fields without a value may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from components.core.data_files import NO_UNICODE, is_parquet, read_json_lines, read_parquet_rows
from components.core.errors import UserError
from components.core.wrong_values import first_mistake
from components.seed_data.chat_rows import COLUMNS, KNOWN_FORMS, OPEN_ASSISTANT, form_of, messages_of


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
    unusable: str | None = None  # why; no field of a file's

    @model_validator(mode="before")
    @classmethod
    def _without_nan(cls, fields: Any) -> Any:
        """pandas writes NaN where there is no value; it is the one that is not itself."""
        return {name: None if value != value else value for name, value in fields.items()}


def read_messages(path: Path, name: str, language: str = "en") -> Iterator[Message]:
    """Every message of the file, each tree's root before its replies where the file holds trees.

    Rows of chat fine-tuning name no language: they are in `language`. Raises UserError, naming the file as `name` and
    the line or row, where something is of no known form, or of another one than the first.
    """
    form = ""
    for where, row in _rows(path, name):
        found = form_of(row)
        if not (form or found):
            problem = f"{where} is not a message of a known form: it has the fields {', '.join(row) or 'of none'}"
            raise UserError(problem[:500], KNOWN_FORMS)
        form = form or found
        if found != form and (found or form != OPEN_ASSISTANT):
            other = found or f"fields {', '.join(row)[:200]}"
            raise UserError(f"{where} has {other}, and the rows before it {form}", "Give files of one form each.")
        for fields in _fields(row, form, language, where):
            yield _message(fields, where)


def _rows(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its place, as messages name it."""
    if is_parquet(path):
        for number, row in read_parquet_rows(path, name, {*Message.model_fields, *COLUMNS}):
            yield f"{name}, row {number}", row
        return
    for number, line in read_json_lines(path, name):
        yield f"{name}, line {number}", line


def _fields(row: dict[str, Any], form: str, language: str, where: str) -> Iterator[dict[str, Any]]:
    """The messages of a row, with the fields of OpenAssistant's flat table."""
    if form != OPEN_ASSISTANT:
        yield from messages_of(row, form, language, where)
        return
    for fields in _tree_messages(row, where) if row.get("prompt") is not None else (row,):
        yield fields | {"unusable": None}


def _tree_messages(tree: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """The tree's messages as rows of the flat table: there the parent and the tree's state stand in each row."""
    waiting: list[tuple[Any, Any]] = [(tree["prompt"], None)]
    while waiting:
        node, parent_id = waiting.pop()
        if not isinstance(node, dict):
            raise UserError(f"{where}: a message of the tree is not an object", KNOWN_FORMS)
        yield node | {"parent_id": parent_id, "tree_state": tree.get("tree_state")}
        replies = node.get("replies") or []
        if not isinstance(replies, list):
            raise UserError(f"{where}: the replies of a message are not a list", KNOWN_FORMS)
        waiting += [(reply, node["message_id"]) for reply in reversed(replies)]


def _message(fields: dict[str, Any], where: str) -> Message:
    try:
        return Message.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{where} is not a message of a known form: {first_mistake(error)}", KNOWN_FORMS) from error
