"""The checks of a server tell apart what can serve a run and what cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import PreTrainedModel

from components.core.errors import UserError
from components.serving.conformance import CHECKS, NEEDED, Ability, examine
from components.serving.embedded.http.server import served_in_process
from components.serving.embedded.scheduler.engine import Limits
from tests.helpers.scripted_endpoint import Script, said, says
from tests.helpers.tiny_model import make_tiny_model

STORY = "The river ran, the stone stayed where it lay."


def states(abilities: list[Ability]) -> dict[str, str]:
    return {ability.name: ability.state for ability in abilities}


def lacking(abilities: list[Ability]) -> set[str]:
    return {ability.name for ability in abilities if ability.state == "no"}


@pytest.mark.slow
def test_the_embedded_engine_does_all_that_a_run_asks_for(tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = make_tiny_model(tmp_path / "model")
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder).eval()
    with served_in_process(model, AutoTokenizer.from_pretrained(folder), Limits(max_total_tokens=1024)) as url:
        found = states(list(examine(url)))
    assert found.pop("refuses another model's name") == "no"  # as TGI, it serves one model by any name
    assert set(found.values()) == {"yes"}


def test_a_server_that_ignores_what_it_is_asked_is_found_out(serve: Callable[[Script], str]) -> None:
    """One text whatever the seed, no log-probabilities, as `transformers serve` does with status 200.
    It tells no context, so that no long prompt is sent."""
    found = list(examine(serve(says(lambda _: STORY))))
    assert lacking(found) == {
        "tells its context",
        "draws at temperature 1",
        "gives log-probabilities",
        "refuses another model's name",
    }
    assert states(found)["refuses a prompt that is too long"] == "unknown"
    assert states(found)["ends at max_tokens, and says so"] == "unknown"  # the text may be short by itself
    assert lacking(found) & NEEDED == {"draws at temperature 1"}


def test_an_answer_that_was_cut_off_must_say_so(serve: Callable[[Script], str]) -> None:
    script = Script(lambda _, body: said(STORY, "length"), {"/info": {"model_id": "m", "max_total_tokens": 64}})
    found = states(list(examine(serve(script))))
    assert found["ends at max_tokens, and says so"] == "yes"
    assert found["refuses a prompt that is too long"] == "no"  # 128 words into 64 tokens, and an answer all the same


def test_a_system_message_that_is_refused_is_told(serve: Callable[[Script], str]) -> None:
    def answer(_: int, body: dict[str, Any]) -> tuple[int, Any]:
        if len(body["messages"]) > 2:
            return 400, {"error": {"message": "Conversation roles must alternate user/assistant, one turn only"}}
        return said(STORY)

    found = states(list(examine(serve(Script(answer)))))
    assert found["takes several turns"] == "no"


def test_a_server_that_dies_on_the_way_is_no_list_of_noes(serve: Callable[[Script], str]) -> None:
    """It answers the first three requests, then nothing but errors."""
    script = Script(lambda number, _: said(STORY) if number < 4 else (401, {"error": {"message": "invalid key"}}), {})
    with pytest.raises(UserError, match="key"):
        list(examine(serve(script)))


def test_each_check_says_what_happens_without(serve: Callable[[Script], str]) -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.without.startswith("no run") == check.needed for check in CHECKS)
