"""A response is read whole and in time, or it is none."""

from __future__ import annotations

import resource
import time

import pytest

from components.core.errors import UserError
from components.serving import transport
from components.serving.address import Address
from components.serving.description import ask_one_question, endpoint_info
from components.serving.meaning import Kind
from tests.faults.bad_engine import BAD, Handler, bad_engine


@pytest.mark.parametrize("name", ["a body without end", "300 kB that unpack to 300 MB"])
def test_no_response_takes_more_memory_than_it_may(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LARGEST_RESPONSE", 1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with bad_engine(BAD[name], times=1) as url:
        meaning = ask_one_question(Address(url, "m"))
    assert meaning.kind is Kind.BROKEN and "a response of more than" in meaning.problem
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@pytest.mark.parametrize("name", ["a slow drip", "a body without end"])
def test_what_is_served_is_told_in_time_or_not_at_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the whole never does: a limit for each piece would wait for ever."""
    monkeypatch.setattr(Handler, "do_GET", lambda handler: BAD[name](handler))
    start = time.monotonic()
    with bad_engine(BAD[name], times=0) as url, pytest.raises(UserError, match="does not answer"):
        endpoint_info(url, timeout=1.0)
    assert time.monotonic() - start < 5


def test_brackets_without_end_are_no_defect() -> None:
    """Python's parser gives up at a thousand, and says so in its own way."""
    with bad_engine(BAD["the same in an object"], times=1) as url:
        assert ask_one_question(Address(url, "m")).kind is Kind.BROKEN
