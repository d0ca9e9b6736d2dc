"""What a person sees of a run that goes on: a tree on a terminal of any width, lines elsewhere."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from components.core.course import Course
from components.core.progress import STEP_EVENTS, EventFile, emit, emit_point
from pipelines.watch.outline import Phase
from pipelines.watch.reading import Steps, of_this_attempt
from pipelines.watch.screen import Screen, live_wanted
from pipelines.watch.tree import Tree, clock

OUTLINE = (
    Phase("prepare", ("open the run, import data", "import models")),
    Phase("M1", ("train M1", "sample M1", "judge M1", "measure M1", "gate and register M1")),
    Phase("M2 (round 1)", ("pair M1's answers", "train M2")),
    Phase("report", ("report",)),
)
RUN = "demo-20261126-035728-3904"


def event(kind: str, time: float, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "time": time, **fields}


def made(stage: str, time: float, reused: bool = False, dropped: dict[str, int] | None = None) -> list[dict[str, Any]]:
    ended = {"reused": reused, "kept": {"records": 1234}, "dropped": dropped or {}}
    return [event("stage_start", time - 5, stage=stage), event("stage_end", time, stage=stage, **ended)]


def up_to_judging() -> list[dict[str, Any]]:
    """M1 was found, its candidates were sampled in 5 s, 40 of 80 are judged: 2 a second, after 20 s of loading."""
    events = [
        event("step_start", 0, step="open the run, import data"),
        *made("seed-data", 8, False, {"reply: late": 9}),
    ]
    events += [event("step_end", 9, step="open the run, import data")]
    events += [event("step_start", 10, step="import models"), event("step_end", 19, step="import models")]
    events += [event("step_start", 20, step="train M1"), *made("m1/sft", 26, reused=True)]
    events += [event("step_end", 27, step="train M1"), event("step_start", 30, step="sample M1")]
    events += [event("warn", 31, text="2 answers were cut [off]"), *made("m1/sampling", 38, False, {"too long": 2})]
    events += [event("step_end", 39, step="sample M1"), event("step_start", 40, step="judge M1")]
    events += [event("progress", 40, label="judgements", done=0, total=80)]
    return [
        *events,
        *(event("progress", 60 + one / 2, label="judgements", done=one + 1, total=80) for one in range(40)),
    ]


def shown(events: list[dict[str, Any]], width: int = 80, running: bool = True, **how: Any) -> str:
    """The tree as text."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, record=True, **how)
    console.print(Tree(RUN, OUTLINE, Steps(events).courses(running), over=True))
    return console.export_text()


def test_the_tree_tells_what_is_done_reused_running_and_to_come() -> None:
    """40 of 80 at 2 a second: 20 s are left. Of the phase that goes on every step is shown, of others none."""
    text = shown(up_to_judging())
    lines = [re.sub(r"\s{2,}|━+|╸|╺", " ", line).strip() for line in text.splitlines()]
    assert lines[0] == f"{RUN} 4 of 10 steps, 1:20"
    assert "✓ prepare 2 steps 19 s" in lines
    assert "● M1 2 of 5 steps" in "\n".join(lines)
    assert "↺ train M1 reused 7 s" in lines
    assert "✓ sample M1 1,234 records, 2 dropped 9 s" in lines
    assert any(re.fullmatch(r"judgements +40/80 2/s 20 s left", line) for line in lines)
    assert "· measure M1" in lines and "○ M2 (round 1) 2 steps" in lines and "○ report" in lines
    assert "pair M1's answers" not in text
    assert "dropped so far: 2 too long; 9 of the human messages" in lines


@pytest.mark.parametrize("width", [50, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_counts_stay(width: int) -> None:
    text = shown(up_to_judging(), width)
    assert max(cell_len(line) for line in text.splitlines()) <= min(width, 200)
    assert "40/80" in text and "20 s left" in text


def test_a_terminal_without_unicode_gets_letters() -> None:
    text = shown(up_to_judging(), legacy_windows=False)
    assert "✓" in text
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(width=80, file=file).print(Tree(RUN, OUTLINE, Steps(up_to_judging()).courses()))
    file.seek(0)
    assert "+ prepare" in file.read()


def test_a_run_that_ended_from_outside_has_no_step_that_goes_on() -> None:
    text = shown(up_to_judging(), running=False)
    assert "■ judge M1" in text and "40/80" not in text


def test_a_phase_that_failed_shows_which_step() -> None:
    failed = event("error", 90, step="judge M1", problem="no judge", remedy="Start one.", trace="")
    text = shown([*up_to_judging(), failed, event("step_start", 91, step="report")])
    assert "✗ judge M1" in text and "✗ M1" in text


def plain(events: list[dict[str, Any]]) -> str:
    """What a pipe gets, event by event."""
    console, steps = Console(width=110, file=io.StringIO()), Steps()
    with Screen(console, RUN, OUTLINE) as screen:
        for one in events:
            steps.add(one)
            screen.update(steps.courses())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_pipe_gets_lines() -> None:
    """As the log of a Job has them, by which srlm status finds the step."""
    lines = plain(up_to_judging()).splitlines()
    assert lines[:3] == [
        "[1/10] open the run, import data",
        "      seed-data done in 5 s: 1,234 records (dropped: 9 reply: late)",
        "[2/10] import models",
    ]
    assert lines[4] == "      m1/sft reused: 1,234 records"
    assert "      warning: 2 answers were cut [off]" in lines
    assert lines[-1] == "[5/10] judge M1"


def test_a_step_that_is_silent_for_a_while_then_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.watch.screen.SECONDS_BETWEEN_LINES", 0.0)
    assert plain(up_to_judging()).splitlines()[-1] == "      judgements: 40/80, 2/s, 20 s left"


def test_warnings_stay_above_the_tree() -> None:
    console, steps = Console(width=80, height=24, file=io.StringIO(), force_terminal=True, color_system=None), Steps()
    with Screen(console, RUN, OUTLINE, live=True) as screen:
        for one in up_to_judging():
            steps.add(one)
            screen.update(steps.courses())
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert written.count("sample M1: 2 answers were cut [off]") == 1
    assert "[5/10]" not in written, "steps are in the tree"


def test_a_warning_that_a_journal_tells_later_is_told_once() -> None:
    console = Console(width=80, file=io.StringIO())
    with Screen(console, RUN, OUTLINE) as screen:
        for warnings in (("a",), ("a",), ("a", "b", "c")):
            screen.update([Course("train M1", 0.0, 1.0, warnings=warnings)])
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line.strip() for line in told.splitlines() if "warning" in line] == [f"warning: {one}" for one in "abc"]


@pytest.mark.parametrize(
    "variables", [{"TERM": "dumb"}, {"CI": "true", "TERM": "xterm"}, {"FORCE_COLOR": "1", "TERM": "xterm"}]
)
def test_a_live_tree_is_for_terminals(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """FORCE_COLOR in a pipe makes colours, no terminal."""
    for name in ("TERM", "CI", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours):
        monkeypatch.setenv("TERM", "xterm")
        assert live_wanted(Console(file=terminal))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert not live_wanted(Console() if "FORCE_COLOR" in variables else Console(file=terminal))


def test_what_an_earlier_attempt_left_unfinished_is_still_to_come() -> None:
    first = Course("open the run, import data", 100.0, 101.0, state="done")
    done, failed = Course("train M1", 50.0, 60.0, state="done"), Course("sample M1", 60.0, 70.0, state="failed")
    assert [course.name for course in of_this_attempt([done, failed, first])] == ["train M1", first.name]


def test_time_is_read_at_a_glance() -> None:
    assert [clock(seconds) for seconds in (0, 59.4, 60, 3599, 3600, 90061)] == [
        *("0 s", "59 s", "1:00", "59:59", "1:00:00", "25:01:01")
    ]


def test_a_point_of_a_curve_is_of_the_step_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number of training steps was taken for the step's name, and ended the run's screen."""
    file = tmp_path / "events.jsonl"
    monkeypatch.setenv(STEP_EVENTS, str(file))
    events = EventFile(file)
    emit("step_start", step="train M1")
    emit_point(3, {"loss": 1.0})
    assert [course.name for course in Steps(events.new()).courses()] == ["train M1"]
