"""A round through a gateway as people have them (keys, limits, failures, filters): every record is accounted for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.records import Counts, Judgement, Prompt
from components.core.stage import Stage, read_records
from components.judging.judging import judge_candidates
from components.judging.settings import JudgingSettings
from components.sampling.sampling import answers_to, publish_candidates
from components.sampling.settings import SamplingSettings
from components.serving.address import ENDPOINT_KEY, JUDGE_KEY, Address
from components.serving.completions import complete
from tests.helpers.scripted_endpoint import Script, said

TOO_LONG = {"error": {"message": "This model's maximum context length is 8192 tokens. However, ...", "code": 400}}
FILTERED = {"error": {"code": "content_filter", "message": "The response was filtered"}}
# What becomes of a prompt by the last digit of its number
FATE: dict[int, Any] = {
    0: (400, TOO_LONG),
    1: (400, FILTERED),
    2: said("Half a", "content_filter"),
    3: said("<think>never done"),
    4: said("cut", "length"),
}


def gateway(answer: Callable[[str], Any], key: str) -> Script:
    """Every fifth question meets a limit or a failure; a wrong key or name meets a refusal."""

    def reply(number: int, body: dict[str, Any]) -> Any:
        if body["model"] != "m" or script.headers[number - 1].get("Authorization") != f"Bearer {key}":
            return 401, {"error": "wrong key or name"}
        if number % 5 == 0:
            failures = [(429, {"error": "slow"}, {"Retry-After": "0"}), (502, "bad gateway"), (200, {"choices": []})]
            return failures[number // 5 % 3]
        return answer(body["messages"][-1]["content"])

    script = Script(reply, {"/v1/models": {"data": [{"id": "m"}]}})
    return script


def test_every_record_is_answered_or_missing_by_its_reason(
    serve: Callable[[Script], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 prompts, two candidates each: of each digit 0 to 4 four candidates have no use, 20 are whole and are judged.

    The judge has no answer for candidates of the digit 5 (4 of 20).
    """
    monkeypatch.setenv(ENDPOINT_KEY, "of-policy")
    monkeypatch.setenv(JUDGE_KEY, "of-judge")
    policy = gateway(lambda text: FATE.get(int(text) % 10, said(f"answer to {text}")), "of-policy")
    judge = gateway(
        lambda text: (
            said("Score", "abort") if re.search(r"answer to \d?5", text) else said("<think>Score: 1</think>Score: 4")
        ),
        "of-judge",
    )
    stage = Stage(str(tmp_path), "sampling", SamplingSettings(), {})
    prompts = [Prompt(id=str(n), text=str(n)) for n in range(20)]
    served = Address(serve(policy), key_variable=ENDPOINT_KEY)
    candidates = complete(stage, served, answers_to("candidates", prompts, 2, SamplingSettings(concurrency=4)))
    counts = publish_candidates(stage, candidates).counts
    assert counts == Counts(
        kept={"candidates": 20},
        dropped={
            "prompt too long": 4,
            "content_filter": 8,
            "no answer after its reasoning": 4,
            "candidate cut off by length": 4,
        },
    )
    other = Address(f"{serve(judge)}/v1", key_variable=JUDGE_KEY)
    judged = judge_candidates(str(tmp_path), JudgingSettings(samples=1, concurrency=4), "", stage.uri, "", other)
    assert judged.counts.kept == {"judgements": 16}
    assert judged.counts.dropped == {
        "judgement unparsed: judge abort": 4,
        **{f"candidate not judged: {reason.removeprefix('candidate ')}": n for reason, n in counts.dropped.items()},
    }
    uri = f"{tmp_path}/judging/{judged.key}"
    assert Counter(j.score for j in read_records(uri, "judgements", Judgement)) == {4.0: 16, None: 4}
