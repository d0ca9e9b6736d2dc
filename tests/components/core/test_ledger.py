"""The seconds of a ledger are those for which it was open, whatever is nested or done at once."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from components.core.ledger import count, hold, opened_ledger, so_far, spent, waited
from components.core.records import Counts
from components.core.settings import Settings
from components.core.spent import Spent
from components.core.stage import Stage
from components.core.step import run_stage
from components.core.store import open_store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its one number is the time."""
    now = [100.0]
    monkeypatch.setattr("components.core.ledger.time.monotonic", lambda: now[0])
    return now


def test_an_inner_block_s_time_is_not_its_outer_one_s(clock: list[float]) -> None:
    """1 s of the stage's own, 2 + 5 of training around 3 of storing: 11 in all."""
    with opened_ledger("computing") as ledger:
        clock[0] += 1
        with spent("training"):
            clock[0] += 2
            with spent("storing"):
                clock[0] += 3
            clock[0] += 5
    assert ledger.total().seconds == {"computing": 1, "training": 7, "storing": 3}
    clock[0] += 100  # it is closed
    assert ledger.total().wall == 11


def test_of_blocks_that_are_open_at_once_each_has_its_share(clock: list[float]) -> None:
    """Two tasks, 4 s: 2 s each; then one alone for 1 s more. The block around them has waited for both."""

    async def task(kind: str, seconds: float) -> None:
        with spent(kind):  # type: ignore[arg-type]
            await asyncio.sleep(0)
            clock[0] += seconds
            await asyncio.sleep(0)

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(task("starting", 4))
            tasks.create_task(task("storing", 0))
        clock[0] += 1

    with opened_ledger("computing") as ledger, spent("engine"):
        asyncio.run(both())
    assert ledger.total().seconds == {"starting": 2, "storing": 2, "engine": 1}


def test_a_thread_with_a_life_of_its_own_adds_nothing() -> None:
    def watch() -> None:
        with spent("storing"):
            count(bytes_up=5)
            time.sleep(0.01)

    with opened_ledger("computing") as ledger:
        thread = threading.Thread(target=watch)
        thread.start()
        thread.join()
    assert set(ledger.total().seconds) == {"computing"} and not ledger.total().amounts
    with spent("engine"):  # nor does a block outside of any ledger
        count(answers=1)
    assert so_far() is None


def test_a_stage_s_time_is_not_its_step_s_unless_it_failed(clock: list[float]) -> None:
    def fail() -> None:
        with opened_ledger("computing"), spent("engine"):
            clock[0] += 4
            count(answers=5)
            _ = 1 / 0

    with opened_ledger("unattributed") as of_step:
        clock[0] += 1
        with opened_ledger("computing"):
            clock[0] += 2
            count(answers=3)
        assert of_step.total().seconds == {"unattributed": 1}
        with pytest.raises(ZeroDivisionError):
            fail()
    total = of_step.total()
    assert (total.seconds["engine"], total.amounts) == (4, {"answers": 5})


def test_an_outage_is_waiting_and_no_more_than_there_was(clock: list[float]) -> None:
    with opened_ledger("computing") as ledger:
        with spent("engine"):
            clock[0] += 10
            waited(4)
        waited(100)
    assert ledger.total().seconds == {"waiting": 10}


def test_what_is_held_is_the_most_that_was_held() -> None:
    with opened_ledger("computing") as ledger:
        assert ledger.total().gpus is None  # not known, and not 0
        hold(0, cores=2)
        hold(4, "H100")
        hold(1)
    held = ledger.total()
    assert (held.gpus, held.gpu, held.cores, held.attempts) == (4, "H100", 2, 1)


def test_what_another_process_spent_stands_for_the_time_that_was_waited_for_it() -> None:
    """20 s of which the other knows 15: 5 to start it. What was counted on both sides adds up."""
    here = Spent(seconds={"computing": 1, "elsewhere": 20}, amounts={"bytes_down": 1})
    there = Spent(seconds={"training": 12, "storing": 3}, amounts={"bytes_down": 2}, gpus=8, gpu="H100")
    both = here.made_elsewhere(there)
    assert both.seconds == {"computing": 1, "training": 12, "storing": 3, "starting": 5}
    assert (both.wall, both.gpus, both.amounts, both.attempts) == (21, 8, {"bytes_down": 3}, 1)


def test_a_stage_says_what_it_took_and_what_attempts_before_it_had_noted(tmp_path: Path) -> None:
    """The first is killed after it has noted 5 s; the next one knows of it. Bytes are those of the objects."""

    def begun() -> Stage:
        return Stage(str(tmp_path), "sampling", Settings(), {})

    open_store(begun().uri).write("progress/spent/dead.json", Spent(seconds={"engine": 5}).model_dump_json().encode())

    def make() -> object:
        stage = begun()
        stage.note_spent()  # its own is no earlier attempt
        return stage.publish(Counts())

    run_stage(str(tmp_path), "run", "m1/sampling", make)  # type: ignore[arg-type]
    made = begun().manifest
    assert made and made.spent and made.earlier
    assert made.earlier.seconds == {"engine": 5} and made.earlier.attempts == 1
    assert made.spent.wall == pytest.approx(made.seconds, abs=0.2) and made.spent.amounts["bytes_up"] > 0
    assert not open_store(begun().uri).names("progress/")
