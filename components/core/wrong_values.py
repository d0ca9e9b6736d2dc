"""What pydantic finds wrong with a value, in words of our own: what is allowed, and not which class was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

# By pydantic's type of the error; the names in braces are of its context.
ALLOWED = {
    "missing": "is missing",
    "extra_forbidden": "is an unknown key",
    "none_required": "must be null",
    "string_type": "must be a text",
    "string_sub_type": "must be a text",
    "string_unicode": "must be Unicode text",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} or fewer characters",
    "string_pattern_mismatch": "must match {pattern}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have {max_length} or fewer items",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a section: a mapping of settings to values",
    "model_attributes_type": "must be a section: a mapping of settings to values",
    "invalid_key": "must have texts as its keys",
    "json_invalid": "is no valid JSON ({error})",
    "recursion_loop": "must not hold itself",
}
_OURS = ("value_error", "assertion_error")  # raised by validators of this project


def what_is_allowed(mistake: Mapping[str, Any]) -> str:
    """Of one entry of ValidationError.errors(): what stands behind the field's name in a sentence."""
    if mistake["type"] in _OURS:
        return str(mistake["msg"]).split("error, ", 1)[-1]  # without pydantic's "Value error, "
    if template := ALLOWED.get(mistake["type"]):
        return template.format_map(mistake.get("ctx", {}))
    return str(mistake["msg"]).replace("Input should be", "must be").replace("valid ", "")


def first_mistake(error: ValidationError, inside: Sequence[str | int] = ()) -> str:
    """The first of its mistakes as "field.part: must be ..."; `inside` is the place of what was validated."""
    first = error.errors()[0]
    place = ".".join(map(str, (*inside, *first["loc"])))
    return f"{place}: {what_is_allowed(first)}" if place else what_is_allowed(first)
