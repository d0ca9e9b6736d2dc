"""Texts that attackers write (tests/faults/hostile.py) where people see them: terminal, logs, pages and reports."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from components.core.course import Course
from components.core.page import Table, write_page
from components.core.progress import read_event, visible
from components.run.examples import Example
from components.run.html_report import render_sections
from components.run.outcome import Outcome
from components.run.sections import Section
from components.training.launch.logs import Log
from pipelines.watch.screen import Screen
from tests.faults.hostile import Note, tags_of, watched
from tests.helpers.paths import ROOT

CONSOLE = re.compile(r"Console\([^)]*\)")


def is_harmless(text: str) -> bool:
    """One line that the terminal shows; nothing that it obeys, and no markup of ours."""
    shown, written = visible(text), StringIO()
    screen = Screen(Console(file=written, width=10_000, force_terminal=False, emoji=False), "run", ())
    screen.update([Course("step", 0.0, 0.0, said=text)])
    event = json.dumps({"kind": "say", "time": 0.0, "text": text}) + "\n"
    whole = [one["text"] for one in read_event(event)] == [text] and event.count("\n") == 1
    controls = set(map(chr, [*range(32), *range(127, 160)])) - {"\n", "\t"}
    told = "".join(written.getvalue().split()).replace("\\", "")  # tabs are shown as spaces, rich takes a backslash
    return whole and not controls & set(written.getvalue()) and "".join(shown.split()).replace("\\", "") in told


def test_terminal_and_events(note: Note) -> None:
    watched(note, "terminal lines and events", 0.02, is_harmless)


def test_no_console_of_ours_draws_what_stands_between_colons() -> None:
    """rich shows `:a:` as a picture, in whatever text."""
    made = [call for path in (ROOT / "pipelines").rglob("*.py") for call in CONSOLE.findall(path.read_text())]
    assert len(made) > 5
    assert [call for call in made if "emoji=False" not in call and "quiet=True" not in call] == []


def test_pages(note: Note, tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    def is_text(text: str) -> bool:
        write_page(str(page), text, Table(text, (text,), [(text,)], text), [text])
        ours = {"html", "head", "meta", "title", "style", "body", "h3", "div", "table", "caption", "thead", "tbody"}
        return tags_of(page.read_text()) <= ours | {"tr", "th", "td", "p", "ul", "li", "wbr"}

    watched(note, "pages", 0.01, is_text)


def test_reports(note: Note) -> None:
    """Every text of a model's, and of a recipe's author, that a report shows."""

    def shows(text: str) -> set[str]:
        table, example = Table(text, (text,), [(text,)], text), Example("best", text, text, 1.0, [(text, text)])
        part = Section("What it wrote", [text], (), [table], {text: [example]}, text)
        return tags_of(render_sections(text, Outcome(text, [text]), [part], {"name": text, "description": text}))

    ours = shows("plain")
    watched(note, "reports", 0.003, lambda text: shows(text) == ours)


def test_lines_of_a_training_s_log(note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a line holds, of problems and points among it: it is shown and not obeyed, and kept for the error."""
    written = StringIO()
    monkeypatch.setattr("sys.stderr", written)

    def is_followed(text: str) -> bool:
        written.seek(0)
        written.truncate()
        log = Log()
        log.follow(f"{text}\n".splitlines(keepends=True), "node-0: ")
        told = log.error("training ended")
        controls = set(map(chr, [*range(32), *range(127, 160)])) - {"\n", "\t"}
        return not controls & set(written.getvalue()) and not controls & set(str(told)) and bool(told.remedy)

    watched(note, "lines of a training's log", 0.04, is_followed)
