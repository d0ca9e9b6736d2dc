"""docs/settings.md: every setting of a recipe with its type, default and meaning, as the typed recipe has them.

`python -m pipelines.settings_reference > docs/settings.md` writes it anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from components.core.settings import Settings
from pipelines.recipe import DERIVED, PATHS, SEEDED, Recipe

Places = dict[type[Settings], str]
WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "anything", dict: "mapping"}
LIMITS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}", "min_length": "at least {} long"}
LONG = 40  # characters of a default that are shown

PATH_LIST = "\n".join(f"  `{path}`{',' * (path != PATHS[-1])}" for path in PATHS)
HEAD = f"""\
# Settings

Every setting of a recipe, as the code has it. `python -m pipelines.settings_reference > docs/settings.md` writes this
page, and a test keeps it current. [recipe.md](recipe.md) says how recipes are read, and tells the longer stories.

A setting is written `section: {{name: value}}` in a file, or `--set section.name=value` on a command line. **Required**
ones have no default.

* Unset seeds are the recipe's `seed`, in {", ".join(f"`{name}`" for name in SEEDED)}.
* {" and ".join(f"`{'.'.join(path)}`" for path in DERIVED)} sample and judge as `sampling` and `judging` do, but for
  what they set themselves.
* Paths are meant from the folder in which the command runs, in a file as with `--set`. In a pod (`srlm compile`,
  `submit`, `manifests`) that is the pod's own folder, so name what lies in S3, on the hub or in an image. They are
{PATH_LIST}.
* A text may lie in a file: `{{file: judge.txt}}` in its place. In a recipe that is a file in the recipe's own folder,
  with `--set` one in the folder in which the command runs. Every command reads it at once, so it need not be in a pod.
"""


def page() -> str:
    """The whole page."""
    places = _places(Recipe, "", {})
    tables = [line for settings, path in places.items() for line in _section(settings, path, places)]
    return "\n".join([HEAD, *tables]).rstrip() + "\n"


def _places(settings: type[Settings], path: str, places: Places) -> Places:
    """Each class of settings with the first place where it is used: there it is shown, from elsewhere pointed to."""
    places[settings] = path
    for name, field in settings.model_fields.items():
        for one in _sections_in(field.annotation):
            if one not in places:
                _places(one, f"{path}.{name}".removeprefix("."), places)
    return places


def _section(settings: type[Settings], path: str, places: Places) -> Iterator[str]:
    """Heading, meaning and table."""
    if path:
        yield f"{'##' if '.' not in path else '###'} {path}\n"
    if path and settings.__doc__ and settings.__doc__ != Settings.__doc__:
        yield f"{inspect.cleandoc(settings.__doc__)}\n"
    yield "| setting | type | default | meaning |\n|---|---|---|---|"
    for name, field in settings.model_fields.items():
        yield f"| `{name}` | {_type(field, places)} | {_default(field)} | {_meaning(settings, name)} |"
    yield ""


def _sections_in(annotation: Any) -> list[type[Settings]]:
    """Classes of settings that a value may be, or hold."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [one for argument in get_args(annotation) for one in _sections_in(argument)]


def _type(field: FieldInfo, places: Places) -> str:
    """What may stand there: kind, limits, and null where it is allowed."""
    kind = _kind(field.annotation, places)
    limits = [words for one in field.metadata for words in _limits(one)]
    return ", ".join([kind, *limits]).replace("|", "\\|")


def _kind(annotation: Any, places: Places) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in WORDS:
        return WORDS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return f"[{places[annotation]}](#{places[annotation].replace('.', '')})"
    if annotation is NoneType:
        return "null"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_kind(one, places) for one in arguments)
    if origin is dict:
        return f"mapping of {_kind(arguments[0], places)} to {_kind(arguments[1], places)}"
    if origin in (list, tuple):
        return f"list of {_kind(arguments[0], places)}"
    inner = ", ".join([_kind(arguments[0], places), *(words for one in arguments[1:] for words in _limits(one))])
    return f"({inner})" if ", " in inner else inner  # Annotated


def _limits(constraint: Any) -> Iterator[str]:
    for one in [constraint, *getattr(constraint, "metadata", ())]:
        for name, words in LIMITS.items():
            if (value := getattr(one, name, None)) is not None:
                yield words.format(value)
        if pattern := getattr(one, "pattern", None):
            yield f"like `{pattern}`"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or isinstance(value, Settings):
        return "its defaults"
    if isinstance(value, str) and len(value) > LONG:
        return "a built-in text"
    shown = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else None
    text = shown or (str(list(value)) if isinstance(value, tuple) else str(value))
    return f"`{text}`".replace("|", "\\|") if text else "empty"


def _meaning(settings: type[Settings], name: str) -> str:
    """Of the class that says it: one that only sets another default keeps the meaning."""
    for one in settings.__mro__:
        field = getattr(one, "model_fields", {}).get(name)
        if field is not None and field.description:
            return str(field.description).replace("|", "\\|")
    sections = _sections_in(settings.model_fields[name].annotation)
    return " ".join((sections[0].__doc__ or "").split("\n\n")[0].split()) if sections else ""


if __name__ == "__main__":
    print(page(), end="")
