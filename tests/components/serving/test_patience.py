"""How long an endpoint is asked again, by a clock that only sleeping moves."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.records import Candidate
from components.serving import completions
from components.serving.address import Address
from components.serving.client import Client, Completion, Request, Sampling
from components.serving.patience import Circuit, RetryPolicy
from components.serving.waiting import wait_asked_for
from tests.helpers.scripted_endpoint import Script, said
from tests.helpers.virtual_time import VirtualTime


def requests(number: int) -> list[Request]:
    sampling = Sampling(0.7, 0.9, 16)
    return [Request(str(n), [{"role": "user", "content": str(n)}], sampling, seed=n) for n in range(number)]


def ask(url: str | Address, number: int = 1, clock: VirtualTime | None = None, **policy: Any) -> list[Completion]:
    """All requests at once."""
    clock = clock or VirtualTime()

    async def run() -> list[Completion]:
        client = Client(url, RetryPolicy(**{"timeout": 5.0, **policy}), Circuit(clock.now, clock.sleep))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(client.complete(request)) for request in requests(number)]
            return [task.result() for task in tasks]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await client.close()

    return asyncio.run(run())


def limited(clock: VirtualTime, each_minute: int, headers: bool = True) -> Script:
    """A gateway that answers so many requests a minute, and says when the next minute begins."""
    answered: dict[int, int] = {}

    def answer(number: int, body: dict[str, Any]) -> Any:
        minute = int(clock.time // 60)
        if answered.get(minute, 0) < each_minute:
            answered[minute] = answered.get(minute, 0) + 1
            return said(body["messages"][0]["content"])
        left = {"Retry-After": str(int(60 - clock.time % 60) + 1)} if headers else {}
        return 429, {"error": {"message": "Rate limit reached", "code": 429}}, left

    return Script(answer)


def test_a_limit_by_the_minute_is_outlasted(serve: Callable[[Script], str]) -> None:
    """40 requests at once where 3 are answered a minute: 13 minutes pass, and every one has its answer.

    Each minute after the first may cost a refusal for every request that still waits, not more: 40 + 37 + ... < 300.
    """
    clock = VirtualTime()
    script = limited(clock, 3)
    assert [made.text for made in ask(serve(script), 40, clock)] == [str(n) for n in range(40)]
    assert 780 <= clock.time < 1000
    assert len(script.bodies) < 340


def test_a_limit_that_does_not_say_when_it_ends_is_outlasted(serve: Callable[[Script], str]) -> None:
    clock = VirtualTime()
    script = limited(clock, 3, headers=False)
    assert len(ask(serve(script), 9, clock)) == 9
    assert 120 <= clock.time < 400


def test_a_wait_that_is_asked_for_is_waited(serve: Callable[[Script], str]) -> None:
    """30 seconds, and a random part of a second, so that not all come back at once."""
    clock = VirtualTime()
    script = Script(lambda number, body: said("x") if number > 1 else (429, {"error": "slow"}, {"Retry-After": "30"}))
    ask(serve(script), clock=clock)
    assert 30 <= clock.time <= 32


def test_a_wait_beyond_patience_ends_the_stage_at_once(serve: Callable[[Script], str]) -> None:
    clock = VirtualTime()
    url = serve(Script(lambda number, body: (429, {"error": "slow down"}, {"Retry-After": "86400"})))
    with pytest.raises(UserError, match=r"left alone for 86400 s.*serving\.patience \(900 s\)"):
        ask(url, clock=clock)
    assert clock.time == 0


def test_patience_ends(serve: Callable[[Script], str]) -> None:
    clock = VirtualTime()
    url = serve(Script(lambda number, body: (429, {"error": "busy"})))
    with pytest.raises(UserError, match="is busy"):
        ask(url, clock=clock, patience=120.0)
    assert 60 < clock.time <= 120


def test_no_credit_is_not_waited_for(serve: Callable[[Script], str]) -> None:
    refusal = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    script = Script(lambda number, body: (429, refusal))
    with pytest.raises(UserError, match="no credit is left"):
        ask(serve(script))
    assert len(script.bodies) == 1


def test_a_dead_server_is_asked_by_one_alone_and_then_by_none(serve: Callable[[Script], str]) -> None:
    """50 requests that fail at once are one round; in each of the 29 that follow at most a few more are sent."""
    clock = VirtualTime()
    script = Script(lambda number, body: (502, "<html><title>502 Bad Gateway</title></html>"))
    with pytest.raises(UserError, match="did not answer after 30 attempts.*502 Bad Gateway"):
        ask(serve(script), 50, clock)
    assert len(script.bodies) < 140
    assert clock.time < 600


def test_a_server_that_comes_back_answers_all(serve: Callable[[Script], str]) -> None:
    """16 are sent at once, 14 or 16 in the second round, then one alone in each of 28 more."""
    script = Script(lambda number, body: said("x") if number > 45 else (502, "restarting"))
    assert [made.text for made in ask(serve(script), 30)] == ["x"] * 30


def test_the_last_of_an_outage_is_asked_once_more(serve: Callable[[Script], str]) -> None:
    """One that failed eight times while the server was away, the last time just as another was answered, is no request
    that breaks a server: where others are answered, it is asked again before it is given up."""
    asked, away = [0], threading.Event()

    def answer(number: int, body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] != "1":
            away.wait(60)
            return said("x")
        asked[0] += 1
        if asked[0] == 8:
            away.set()
            time.sleep(0.5)
        return said("x") if asked[0] > 8 else (502, "restarting")

    assert [made.text for made in ask(serve(Script(answer)), 2, timeout=60.0)] == ["x", "x"]


def test_one_request_that_breaks_a_server_is_a_record_and_not_the_end(serve: Callable[[Script], str]) -> None:
    """7 of 20; the last of them when no other is left to be answered."""

    def answer(number: int, body: dict[str, Any]) -> Any:
        text = body["messages"][0]["content"]
        return (500, {"error": "CUDA error"}) if text.isdecimal() and int(text) % 3 == 1 else said(text)

    made = ask(serve(Script(answer)), 20, first_wait=0.01)
    assert [m.finish_reason for m in made].count("error of the endpoint") == 7
    assert [m.text for m in made if m.finish_reason == "stop"] == [str(n) for n in range(20) if n % 3 != 1]


def test_bodies_without_choices_are_asked_for_again(serve: Callable[[Script], str]) -> None:
    empty = [{"id": "x", "choices": []}, {"error": {"message": "Provider returned error", "code": 502}}, {}, ""]
    script = Script(lambda number, body: (200, empty[number - 1]) if number <= len(empty) else said("x"))
    assert ask(serve(script))[0].text == "x"
    assert len(script.bodies) == 5


def test_a_server_that_hangs_is_given_up(serve: Callable[[Script], str]) -> None:
    def hang(number: int, body: dict[str, Any]) -> Any:
        time.sleep(0.5)
        return said("late")

    with pytest.raises(UserError, match="did not answer after 2 attempts.*Timeout"):
        ask(serve(Script(hang)), timeout=0.05, timeout_per_token=0.0, attempts=2)


def test_a_request_may_take_as_long_as_what_it_asks_for() -> None:
    policy = RetryPolicy()
    assert policy.read_timeout(1) < 310
    assert policy.read_timeout(4096) > 4096


def test_waits_are_drawn_from_all_of_a_range_that_doubles() -> None:
    """Full jitter: of 1,000 waits after attempt 3 (limit 4 s) the smallest is near 0, the largest near 4."""
    waits = [RetryPolicy(first_wait=0.5, longest_wait=20).wait(3) for _ in range(1000)]
    assert min(waits) < 0.1 and 3.9 < max(waits) <= 4.0
    assert max(RetryPolicy(longest_wait=20).wait(500) for _ in range(100)) <= 20


@pytest.mark.parametrize(
    ("headers", "said", "wait"),
    [
        ({"retry-after": "30"}, "", 30),
        ({"retry-after": "1.5"}, "", 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, "", 90),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, "", 0),
        ({"retry-after": "-5"}, "", None),
        ({"retry-after": "soon"}, "", None),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "Please try again in 1m30s.", 90),
        ({}, "Please retry after 2 minutes.", 120),
        ({}, "Limit 3 / min, used 3 s", None),
    ],
)
def test_how_servers_ask_for_a_wait(headers: dict[str, str], said: str, wait: float | None) -> None:
    assert wait_asked_for(headers, said, now=10.0) == pytest.approx(wait)


def test_a_server_of_the_run_that_went_away_is_waited_for_by_one_caller(serve: Callable[[Script], str]) -> None:
    """Its Deployment replaces it: for half an hour, longer than the patience that an endpoint of others gets. What was
    asked meanwhile is answered; who asks learns from the cluster that it is back, and not by trying for so long."""
    clock, away, waited = VirtualTime(), [True], []

    def revive() -> bool:
        if not away[0]:
            return False
        waited.append(clock.time)
        clock.time += 1800
        away[0] = False
        return True

    script = Script(lambda _, body: (503, "no endpoints") if away[0] else said(body["messages"][0]["content"]))
    address = Address(serve(script), patience=900, revive=revive)
    assert [made.text for made in ask(address, 40, clock)] == [str(n) for n in range(40)]
    assert len(waited) == 1 and waited[0] < 60
    assert len(script.bodies) <= 3 * 40  # two rounds that fail, one that is answered


def test_a_server_that_cannot_come_back_ends_it_with_the_cluster_s_reason(serve: Callable[[Script], str]) -> None:
    def revive() -> bool:
        raise UserError("m1 cannot be served: server needs more memory than its limit (OOMKilled)", "Raise it.")

    with pytest.raises(UserError, match="OOMKilled"):
        ask(Address(serve(Script(lambda *_: (503, "no endpoints"))), revive=revive), 40)


def test_one_that_is_there_and_does_not_answer_is_given_up_as_ever(serve: Callable[[Script], str]) -> None:
    """The cluster calls it ready."""
    with pytest.raises(UserError, match="did not answer after 5 attempts"):
        ask(Address(serve(Script(lambda *_: (503, "no endpoints"))), revive=lambda: False), attempts=5)


def test_it_is_said_that_one_waits_and_for_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An endpoint that accepts and never answers was 15 minutes of silence."""
    monkeypatch.setattr(completions, "LONGEST_SILENCE_S", 0.1)

    async def wait(url: str) -> None:
        batch: Any = completions.Batch("answers", Candidate, requests(3), lambda *_: None, 2)
        asked = iter([(batch, request) for request in batch.requests])
        asking = completions._request_all(Address(url), 2, 3, asked, lambda *_: None)
        await asyncio.wait_for(asking, 0.5)

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TimeoutError):
            asyncio.run(wait(f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert "still waiting for 2 answers of http://127.0.0.1:" in capsys.readouterr().err
