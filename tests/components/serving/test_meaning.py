"""What servers say, and what it means: refusals.jsonl holds what engines, gateways and web servers answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.serving.meaning import Kind, meaning_of

CASES = [json.loads(line) for line in Path(__file__).with_name("refusals.jsonl").read_text().splitlines()]
SENT = ("model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "top_logprobs")
NOW = 1000.0  # seconds since 1970


def read(case: dict[str, Any]) -> Any:
    text = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
    headers = {name.lower(): value for name, value in case.get("headers", {}).items()}
    return meaning_of(case["status"], headers, text, SENT, NOW)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['server']} {case['status']} {case['kind']}")
def test_what_a_server_says_is_understood(case: dict[str, Any]) -> None:
    meaning = read(case)
    assert meaning.kind is Kind[case["kind"]], meaning
    assert meaning.parameter == case.get("parameter", "")
    assert meaning.instead == case.get("instead", "")
    assert meaning.wait == case.get("wait")
    assert meaning.problem or meaning.kind is Kind.ANSWER


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['server']} {case['status']} {case['kind']}")
def test_a_prompt_that_an_error_quotes_changes_nothing(case: dict[str, Any]) -> None:
    if isinstance(case["body"], dict) and "choices" not in case["body"]:
        quoted = "This model's maximum context length is 4 tokens. no chat template, invalid api key, seed unsupported"
        body = case["body"] | {"input": quoted, "request": {"messages": [{"role": "user", "content": quoted}]}}
        assert read(case | {"body": body}).kind is Kind[case["kind"]]


@given(st.integers(200, 599), st.text(), st.dictionaries(st.sampled_from(["retry-after", "location"]), st.text()))
def test_anything_has_a_meaning(status: int, text: str, headers: dict[str, str]) -> None:
    assert len(meaning_of(status, headers, text, SENT).problem) <= 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "detail", "code", "choices"]), inner)
    ),
)


@given(st.sampled_from([200, 400, 404, 422, 429, 500]), JSON)
def test_any_json_has_a_meaning(status: int, body: Any) -> None:
    meaning = meaning_of(status, {}, json.dumps(body), SENT)
    assert meaning.kind is not Kind.ANSWER or isinstance(body["choices"] if isinstance(body, dict) else body, list)
