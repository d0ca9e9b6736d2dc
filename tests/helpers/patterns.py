"""Every regular expression of the code, how it is used, and texts that make a backtracking engine work hardest."""

from __future__ import annotations

import ast
import importlib
import re
import re._constants as sre
import re._parser as parser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
ONCE = ("match", "fullmatch")  # at one place; the others try each place of a text
USES = (*ONCE, "search", "finditer", "findall", "sub", "split")
SAMPLES = {sre.CATEGORY_SPACE: " \n", sre.CATEGORY_DIGIT: "1", sre.CATEGORY_WORD: "a1"}
# Tried at the beginning of a text alone, in a loop over all of them.
AT_ONE_PLACE = {"_PREAMBLE", "_BARE_PREAMBLE", "_LABEL", "_GREETING", "_BULLET", "PROGRESS_LINE"}
OF_OUR_OWN_TEXT = {"pipelines/lint.py"}  # it reads packages that we have compiled
NOT_SAMPLES = {sre.CATEGORY_NOT_SPACE: "a1", sre.CATEGORY_NOT_DIGIT: "a ", sre.CATEGORY_NOT_WORD: " -"}


class Use(NamedTuple):
    """One call: where, the pattern, and the method that is called."""

    place: str
    pattern: re.Pattern[Any]
    method: str

    def run(self, text: str) -> None:
        subject: Any = text.encode() if isinstance(self.pattern.pattern, bytes) else text
        if self.method in (*ONCE, "search"):
            getattr(self.pattern, self.method)(subject)
        else:
            for _ in self.pattern.finditer(subject):
                pass


def uses() -> list[Use]:
    """All calls whose pattern is known when a module is loaded, and the module's other patterns as if by `search`."""
    found: dict[tuple[str, str, str], Use] = {}
    for path in sorted([*ROOT.glob("components/**/*.py"), *ROOT.glob("pipelines/**/*.py")]):
        place, source = str(path.relative_to(ROOT)), path.read_text()
        if "import re\n" in source and path.name != "__main__.py" and place not in OF_OUR_OWN_TEXT:
            module = vars(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)))
            called = list(_called(ast.parse(source), module))
            known = {pattern for pattern, _ in called}
            for pattern, method in [*called, *((one, "search") for one in _patterns(module) if one not in known)]:
                what = re.sub(r"[^ -~]", "", f"{place}: {method} {pattern.pattern!r:.50}")
                found[(place, method, repr(pattern))] = Use(what, pattern, method)
    return list(found.values())


def _patterns(module: dict[str, Any]) -> Iterator[re.Pattern[Any]]:
    """Those that a module holds under a name, alone or in a dictionary."""
    for name, value in module.items():
        for one in value.values() if isinstance(value, dict) and name != "__builtins__" else [value]:
            if isinstance(one, re.Pattern) and name not in AT_ONE_PLACE:
                yield one


def _called(tree: ast.AST, module: dict[str, Any]) -> Iterator[tuple[re.Pattern[Any], str]]:
    for call, method, pattern in _calls(tree):
        try:
            value = eval(compile(ast.Expression(pattern), "pattern", "eval"), dict(module))
            flags = [*(one for one in call.args[2:] if method != "sub"), *(k.value for k in call.keywords)]
            yield re.compile(value, eval(ast.unparse(flags[0]), {"re": re}) if _is_re(call) and flags else 0), method
        except (NameError, TypeError):
            continue  # made later, of what is given; or no pattern, but another object


def _is_re(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "re"


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in USES:
            if _is_re(node):
                yield node, node.func.attr, node.args[0]
            elif isinstance(node.func.value, ast.Name | ast.Subscript | ast.Call):
                yield node, node.func.attr, node.func.value


def hard_texts(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """Texts of about `size` characters: what stands before a repetition, and what it repeats, again and again."""
    source = pattern.pattern.decode("latin-1") if isinstance(pattern.pattern, bytes) else pattern.pattern
    tree = parser.parse(source, pattern.flags & ~re.DEBUG)
    known = [("", "a"), ("", " "), ("", "\n"), ("", "1")]
    for before, repeated in dict.fromkeys([*known, *_repetitions(tree, "")]):
        for text in (
            before + repeated * (size // len(repeated)),
            (before + repeated) * (size // len(before + repeated)),
            before * (size // 2 // (len(before) or size)) + repeated * (size // 2 // len(repeated)),
        ):
            yield from (text, text + "\0")


def _repetitions(tree: Any, before: str) -> Iterator[tuple[str, str]]:
    """For each repetition without an end: a text that leads to it, and each text that it repeats."""
    for kind, value in tree:
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            if value[1] > 1000:
                yield from ((before, body) for body in _samples(value[2]) if body)
            yield from _repetitions(value[2], before)
        elif kind is sre.BRANCH:
            for branch in value[1]:
                yield from _repetitions(branch, before)
        elif kind in (sre.SUBPATTERN, sre.ATOMIC_GROUP):
            yield from _repetitions(value[-1] if kind is sre.SUBPATTERN else value, before)
        elif kind in (sre.ASSERT, sre.ASSERT_NOT):
            yield from _repetitions(value[1], before)
        before += next(iter(_of(kind, value)), "")


def _samples(tree: Any) -> list[str]:
    """Short texts that match; where a character may be one of several, one of each."""
    texts = [""]
    for kind, value in tree:
        choices = _of(kind, value)
        texts = [text + choice for text in texts for choice in choices][:6]
    return texts


def _of(kind: Any, value: Any) -> list[str]:
    simple: dict[Any, Callable[[], list[str]]] = {
        sre.LITERAL: lambda: [chr(value)],
        sre.NOT_LITERAL: lambda: [one for one in "a1 \n" if ord(one) != value],
        sre.ANY: lambda: ["a"],
        sre.IN: lambda: _one_of(value),
        sre.CATEGORY: lambda: list((SAMPLES | NOT_SAMPLES)[value]),
        sre.BRANCH: lambda: [text for branch in value[1] for text in _samples(branch)[:3]],
        sre.SUBPATTERN: lambda: _samples(value[-1]),
        sre.ATOMIC_GROUP: lambda: _samples(value),
    }
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        bodies = _samples(value[2])
        return [body * max(1, value[0]) for body in bodies] if value[0] else ["", *bodies[:2]]
    return simple.get(kind, lambda: [""])()


def _one_of(items: list[Any]) -> list[str]:
    if items[0][0] is sre.NEGATE:
        refused = re.compile("[" + "".join(map(re.escape, _one_of(items[1:]))) + "]")
        return [one for one in "a1 \n-(" if not refused.match(one)][:3] or ["x"]
    texts = [text for kind, value in items for text in (_of(kind, value) if kind is not sre.RANGE else [chr(value[0])])]
    return texts[:6]
