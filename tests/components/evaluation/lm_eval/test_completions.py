"""The harness's own client, for tasks that score given texts: what does not fit is noted and not cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.evaluation.lm_eval.completions_model import CompletionsModel
from tests.helpers.scripted_endpoint import Script
from tests.helpers.tiny_model import make_tiny_tokenizer

pytestmark = pytest.mark.slow  # loads the harness and a tokenizer


def scores(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Every token has the log-probability -1 and is the likeliest."""
    prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
    choices = []
    for index, tokens in enumerate(prompts):
        size = len(tokens) + 1
        logprobs = {"token_logprobs": [None, *[-1.0] * (size - 1)], "top_logprobs": [None, *[{"t": -1.0}] * (size - 1)]}
        choices.append({"index": index, "text": "t", "logprobs": logprobs})
    return 200, {"choices": choices}


def test_questions_that_do_not_fit_are_noted(tmp_path: Path, serve: Callable[[Script], str]) -> None:
    """A token a byte, of 32 less one for the answer: "1 + 1 =" and " 2" are 9; twenty and more of them do not fit.
    Asked to write 30 tokens, not even the short one does."""
    from lm_eval.api.instance import Instance

    make_tiny_tokenizer().save_pretrained(tmp_path / "model")
    model = CompletionsModel(
        model="m",
        base_url=f"{serve(Script(scores))}/v1/completions",
        tokenizer=str(tmp_path / "model"),
        max_length=32,
        max_gen_toks=8,
    )

    def asked(kind: str, doc: int, *arguments: Any) -> Instance:
        return Instance(kind, {}, arguments, 0, metadata=("sums", doc, 1))

    short, long = "1 + 1 =", "1 + 1 = 2, " * 3
    scored = model.loglikelihood([asked("loglikelihood", 0, short, " 2"), asked("loglikelihood", 1, long, " 2")])
    assert scored[0] == (-2.0, True)
    assert json.dumps({task: sorted(docs) for task, docs in model.too_long.items()}) == '{"sums": [1]}'
    model.too_long = {}
    model.generate_until(
        [asked("generate_until", 2, short, {"until": []}), asked("generate_until", 3, short, {"max_gen_toks": 30})]
    )
    assert model.too_long == {"sums": {3}}
