"""Whatever a model's server answers: every record comes in the end, or the stage ends in time with what is wrong."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.records import Candidate, Parent
from components.core.stage import Stage
from components.sampling.settings import SamplingSettings
from components.serving import completions
from components.serving.address import Address
from components.serving.client import Completion, Request, Sampling
from components.serving.completions import Batch
from components.serving.patience import RetryPolicy
from tests.faults.bad_engine import BAD, NEVER, bad_engine

pytestmark = [pytest.mark.faults, pytest.mark.slow]
REQUESTS, CONCURRENCY = 6, 3
TIMEOUT_S, PATIENCE_S = 1.0, 4.0
DEADLINE_S = 60.0  # for what is given up: four attempts of 1 s, and the pause of 30 s that a connection may take
MEMORY = 400 * 1024  # KiB that no answer may take


def candidate(request: Request, answer: Completion) -> Candidate:
    return Candidate(
        id=request.id, prompt_id=request.id, prompt=request.id, text=answer.text, finish_reason=answer.finish_reason,
        seed=request.seed, tokens=answer.tokens,
    )  # fmt: skip


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Candidate]]:
    """A stage that asks for six answers, with little patience."""
    impatient = partial(RetryPolicy, attempts=4, first_wait=0.05, longest_wait=0.2, timeout=TIMEOUT_S)
    monkeypatch.setattr(
        completions, "RetryPolicy", lambda patience: impatient(timeout_per_token=0.0, patience=patience)
    )
    monkeypatch.setattr("components.serving.client.CONNECT_TIMEOUT_S", 1.0)

    def stage(url: str) -> list[Candidate]:
        made = Stage(str(tmp_path), "sampling", SamplingSettings(), {"model": Parent(uri="x", digest="d")})
        sampling = Sampling(1.0, 1.0, 16)
        requests = [Request(f"p{n}", [{"role": "user", "content": f"p{n}"}], sampling, n) for n in range(REQUESTS)]
        address = Address(url, "m", patience=PATIENCE_S)
        return completions.complete(made, address, Batch("candidates", Candidate, requests, candidate, CONCURRENCY))

    return stage


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", BAD)
def test_a_server_that_is_bad_for_a_while_costs_nothing(
    name: str, ask: Callable[[str], list[Candidate]], note: Callable[..., None]
) -> None:
    """The same records as ever; what no waiting helps is told at once, and the rerun has them all."""
    start, before, refused = time.monotonic(), peak(), 0
    with bad_engine(BAD[name], times=3) as url:
        try:
            made = ask(url)
        except UserError:
            refused, made = 1, ask(url)
    assert refused == (name in NEVER)
    texts = [(one.id, one.text, one.finish_reason) for one in made]
    lost = sum(text != (f"p{n}", f"p{n}", "stop") for n, text in enumerate(texts))
    note(
        f"an engine that is bad in one of {len(BAD)} ways for three answers",
        survived=1 - refused,
        refused=refused,
        lost=lost,
        silence=time.monotonic() - start,
    )
    assert not lost and len(texts) == REQUESTS
    assert peak() - before < MEMORY


@pytest.mark.parametrize("name", BAD)
def test_one_that_stays_bad_is_given_up_in_time(
    name: str, ask: Callable[[str], list[Candidate]], note: Callable[..., None]
) -> None:
    start = time.monotonic()
    with bad_engine(BAD[name], times=float("inf")) as url, pytest.raises(UserError) as told:
        ask(url)
    seconds = time.monotonic() - start
    note(f"an engine that stays bad in one of {len(BAD)} ways", refused=1, silence=seconds)
    assert seconds < DEADLINE_S
    assert url.removeprefix("http://") in str(told.value) and told.value.remedy
