"""What is wrong with a recipe: each mistake once, by the name of its setting, with what is allowed there."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, get_args, get_origin

from components.core.settings import Settings
from components.core.wrong_values import what_is_allowed

SHOWN = 80  # characters of a wrong value
KEY = "[key]"  # at the end of pydantic's place of a mapping's key
Place = tuple[str | int, ...]


def lines_of(mistakes: Sequence[Any], recipe: type[Settings], derived: Sequence[Place]) -> list[str]:
    """Pydantic's errors of a recipe, a line each. `derived` are sections that sample and judge as the rounds do: what
    they have taken over is told once, where it was made."""
    told: dict[str, list[str]] = {}
    for mistake in mistakes:
        if not _told_elsewhere(mistake, mistakes, derived) and not _follows(mistake):
            setting, lines = _explain(mistake, recipe)
            told.setdefault(setting, []).extend(lines)
    return [f"  {setting}: {line}" for setting, lines in told.items() for line in _one_of(lines)]


def _one_of(lines: Sequence[str]) -> list[str]:
    """Where a value may be of several kinds, pydantic tells what each of them wants: one line for all."""
    kinds = [line.removeprefix("must be ").partition(", not ")[0] for line in lines if line.startswith("must be ")]
    if len(kinds) < 2 or len(kinds) < len(lines):
        return list(lines)
    return [f"must be {' or '.join(dict.fromkeys(kinds))}, not {lines[0].partition(', not ')[2]}"]


def _told_elsewhere(mistake: Any, mistakes: Sequence[Any], derived: Sequence[Place]) -> bool:
    """Whether a section took the mistake over from another."""
    location = mistake["loc"]
    for path in derived:
        section, rest = location[: len(path)], location[len(path) :]
        if section == path and rest[:1] in (("judging",), ("answers",)):
            origin = ("judging" if rest[0] == "judging" else "sampling", *rest[1:])
            same = (origin, mistake["msg"], mistake["input"])
            return any((other["loc"], other["msg"], other["input"]) == same for other in mistakes)
    return False


def _follows(mistake: Any) -> bool:
    """A list is called too short for the items of it that are wrong, which are told themselves."""
    return mistake["type"] == "too_short" and len(mistake["input"]) >= mistake["ctx"]["min_length"]


def _explain(mistake: Any, recipe: type[Settings]) -> tuple[str, list[str]]:
    """The setting's dotted name, and what is wrong there; several lines where one validator found several mistakes."""
    location, allowed = mistake["loc"], what_is_allowed(mistake)
    if mistake["type"] == "extra_forbidden":
        place, kinds = _setting(location[:-1], recipe)
        name, known = str(location[-1]), sorted({name for one in kinds for name in getattr(one, "model_fields", {})})
        close = difflib.get_close_matches(name, known, 1)
        told = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return ".".join(map(str, (*place, name))), [f"unknown key; {told}"]
    place, kinds = _setting(location, recipe)
    if mistake["type"] == "missing":
        allowed = "is missing; add it"
    elif location and location[-1] == KEY:
        allowed = f"the name {place[-1]!r} {allowed}"
    elif not isinstance(mistake["input"], dict) or mistake["type"].endswith("_type"):
        nullable = " or null" if NoneType in kinds and allowed.startswith("must be ") else ""
        allowed = f"{allowed[0].lower()}{allowed[1:]}{nullable}, not {_shown(mistake['input'])}"
    return ".".join(map(str, place)) or "recipe", allowed.split("\n")


def _shown(value: Any) -> str:
    """As YAML has it, and no longer than a line."""
    text = {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _setting(location: Sequence[str | int], recipe: type[Settings]) -> tuple[Place, list[Any]]:
    """The names of a mistake's place that are settings, keys or numbers in a list, and what may stand there.

    Pydantic puts the kinds that it has tried between them ("int", "function-after[...]").
    """
    place: Place = ()
    kinds: list[Any] = [recipe]
    for part in location:
        inner = [kind for one in kinds for kind in _inside(one, part)]
        if inner and part != KEY:
            place, kinds = (*place, part), [kind for one in inner for kind in _alternatives(one)]
    return place, kinds


def _inside(kind: Any, part: str | int) -> Iterator[Any]:
    """What may stand at `part` of such a value."""
    fields: Mapping[str, Any] = getattr(kind, "model_fields", {})
    if part in fields:
        yield fields[str(part)].annotation
    elif get_origin(kind) is dict:
        yield get_args(kind)[1]
    elif get_origin(kind) in (list, tuple) and isinstance(part, int):
        yield get_args(kind)[0]


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The kinds of a union, or the annotation itself, without what is only said about it."""
    if hasattr(annotation, "__metadata__"):
        yield from _alternatives(annotation.__origin__)
    elif get_args(annotation) and get_origin(annotation) not in (dict, list, tuple):
        for one in get_args(annotation):
            yield from _alternatives(one)
    else:
        yield annotation
