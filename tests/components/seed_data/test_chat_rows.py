"""Rows of chat fine-tuning become the same prompts and replies as OpenAssistant's; what is of no use is counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.records import Example, SeedPrompt
from components.core.stage import read_records
from components.core.store import join
from components.seed_data.messages import read_messages
from components.seed_data.seed_data import make_seed_data
from components.seed_data.settings import SeedDataSettings
from components.seed_data.turns import Turns, read_turns
from tests.helpers.paths import ROOT

Row = dict[str, Any]


def said(*texts: str, system: str = "") -> list[dict[str, str]]:
    """A conversation that the user begins."""
    roles = ("user", "assistant") * len(texts)
    before = [{"role": "system", "content": system}] if system else []
    return before + [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.fixture
def turns(json_lines: Callable[..., str]) -> Callable[..., Turns]:
    def read(*rows: Row, which: str = "first") -> Turns:
        return read_turns(read_messages(Path(json_lines(list(rows))), "FILE"), "en", which)

    return read


def outline(found: Turns) -> list[tuple[list[str], str, list[tuple[str, int | None]]]]:
    """Of each prompt what came before it, its text, and its replies with their ranks."""
    return [
        ([message["content"] for message in prompt.history], prompt.text, [(r.text, r.rank) for r in prompt.replies])
        for prompt in found.prompts
    ]


def accounted(found: Turns) -> bool:
    """Each message is once in a prompt, a reply, a system message or what was dropped."""
    kept = sum(1 + len(prompt.replies) for prompt in found.prompts) + found.systems
    return kept + found.dropped.total() == found.read


RANKED = [("The Nile.", 0), ("The Rhine.", 1)]
PREFERENCES = {
    "texts": {"prompt": "A river?", "chosen": "The Nile.", "rejected": "The Rhine."},
    "messages": {"prompt": said("A river?"), "chosen": answer("The Nile."), "rejected": answer("The Rhine.")},
    "a text and messages": {"prompt": "A river?", "chosen": answer("The Nile."), "rejected": answer("The Rhine.")},
    "implicit prompt": {"chosen": said("A river?", "The Nile."), "rejected": said("A river?", "The Rhine.")},
    # as UltraFeedback is published: the prompt as a text, and once more before each answer; scores beside them
    "prompt told twice": {
        "prompt": "A river?",
        "chosen": said("A river?", "The Nile."),
        "rejected": said("A river?", "The Rhine."),
        "messages": said("A river?", "The Nile."),
        "score_chosen": 8.5,
    },
    "prompt is null": {
        "prompt": None,
        "chosen": said("A river?", "The Nile."),
        "rejected": said("A river?", "The Rhine."),
    },
    "parts of text": {
        "prompt": [{"role": "user", "content": [{"type": "text", "text": "A river?"}]}],
        "chosen": answer("The Nile."),
        "rejected": answer("The Rhine."),
    },
}


@pytest.mark.parametrize("row", PREFERENCES.values(), ids=PREFERENCES)
def test_chosen_and_rejected_are_two_ranked_replies(row: Row, turns: Callable[..., Turns]) -> None:
    found = turns(row)
    assert outline(found) == [([], "A river?", RANKED)]
    assert (found.read, found.dropped) == (3, {})


def test_a_system_message_and_earlier_turns_are_the_history(turns: Callable[..., Turns]) -> None:
    """Of all turns: the pair answers the second one. The first answer was ranked by nobody, so its prompt is none."""
    row = {
        "prompt": said("A river?", "The Po.", "Another?", system="Be brief."),
        "chosen": answer("The Nile."),
        "rejected": answer("The Rhine."),
    }
    found = turns(row, which="all")
    assert outline(found) == [(["Be brief.", "A river?", "The Po."], "Another?", RANKED)]
    assert found.dropped == {"reply: not ranked": 1, "prompt: no ranked reply": 1}
    assert accounted(found)
    first = turns(row)
    assert not first.prompts and first.dropped["message: deeper than the first turn"] == 3 and accounted(first)


def test_a_conversation_is_what_to_imitate_turn_by_turn(turns: Callable[..., Turns]) -> None:
    """Every answer is the best of one. A question at the end has none."""
    rows = [{"messages": said("a?", "A.", "b?", "B.")}, {"messages": said("c?")}]
    found = turns(*rows, which="all")
    assert outline(found) == [([], "a?", [("A.", 0)]), (["a?", "A."], "b?", [("B.", 0)])]
    assert found.dropped == {"prompt: no ranked reply": 1} and accounted(found)
    assert outline(turns(*rows)) == [([], "a?", [("A.", 0)])]


def test_a_completion_is_imitated_and_what_came_before_it_is_not(turns: Callable[..., Turns]) -> None:
    """As TRL trains on completions alone: the prompt's own answer (A.) is no example."""
    rows = [
        {"prompt": "q?", "completion": " An answer."},
        {"prompt": said("a?", "A.", "b?"), "completion": answer("B.")},
    ]
    found = turns(*rows, which="all")
    assert outline(found) == [([], "q?", [("An answer.", 0)]), (["a?", "A."], "b?", [("B.", 0)])]
    assert accounted(found)


def test_what_is_labelled_as_bad_is_not_imitated(turns: Callable[..., Turns]) -> None:
    """TRL's unpaired preference."""
    found = turns(
        {"prompt": "a?", "completion": "A.", "label": True}, {"prompt": "b?", "completion": "B.", "label": False}
    )
    assert outline(found) == [([], "a?", [("A.", 0)])]
    assert found.dropped == {"message: its row's label says that the completion is bad": 2}


@pytest.mark.parametrize(
    ("row", "dropped"),
    [
        ({"prompt": "a?", "chosen": "A.", "rejected": "A."}, {"reply: tied rank": 2, "prompt: no ranked reply": 1}),
        (
            {"prompt": "a?", "chosen": said("b?", "A."), "rejected": said("b?", "B.")},
            {"message: chosen and rejected of its row are not one reply each to the same prompt": 3},
        ),
        (
            {"prompt": said("a?"), "chosen": [*answer("A."), *said("b?", "B.")], "rejected": answer("C.")},
            {"message: chosen and rejected of its row are not one reply each to the same prompt": 5},
        ),
        ({"messages": [*answer("A."), *said("b?")]}, {"message: its row's user and assistant do not take turns": 2}),
        ({"messages": [{"role": "tool", "content": "7"}, *said("a?")]}, {"message: its row has a message by tool": 2}),
        (
            {"messages": [*said("a?"), {"role": "assistant", "content": None}]},
            {"message: its row has a message without text": 2},
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}, *answer("A.")]},
            {"message: its row has a message without text": 2},
        ),
        ({"messages": said("a?", " ")}, {"message: empty text": 1, "prompt: no ranked reply": 1}),
        ({"messages": said("a?", "A."), "lang": "de"}, {"message: not in en": 2}),
    ],
)
def test_a_row_that_is_of_no_use_is_counted_with_its_reason(
    row: Row, dropped: dict[str, int], turns: Callable[..., Turns]
) -> None:
    found = turns(row)
    assert (found.prompts, found.dropped) == ([], dropped) and accounted(found)


def test_a_row_that_comes_twice_is_used_once(turns: Callable[..., Turns]) -> None:
    found = turns(PREFERENCES["texts"], PREFERENCES["texts"], PREFERENCES["texts"] | {"rejected": "The Elbe."})
    assert outline(found) == [([], "A river?", RANKED)]
    assert found.dropped == {
        "message: duplicate id": 3,
        "prompt: duplicate text": 1,
        "reply: its prompt was dropped": 2,
    }


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"messages": said("a?", "A.")}, "has messages, and the rows before it chosen and rejected"),
        ({"prompt": "a?", "completion": "A."}, "has prompt and completion, and the rows before it"),
        ({"prompt": "a?", "chosen": "A."}, "has fields prompt, chosen, and the rows before it"),
        ({"message_id": "x", "role": "prompter", "text": "t"}, "has OpenAssistant's messages, and the rows before it"),
        ({"chosen": "A.", "rejected": "B."}, "chosen and rejected, and no prompt"),
        ({"prompt": 7, "chosen": "A.", "rejected": "B."}, "prompt must be text or a list of messages"),
        ({"prompt": "a?", "chosen": [], "rejected": "B."}, "chosen must be text or a list of messages"),
        ({"prompt": "a?", "chosen": ["A."], "rejected": "B."}, "chosen must be text or a list of messages"),
        ({"prompt": [{"role": "user", "content": 7}], "chosen": "A.", "rejected": "B."}, "content of a message is no"),
        ({"prompt": "a\x00?", "chosen": "A.", "rejected": "B."}, "text: it holds a NUL character"),
        ({"prompt": "a?", "chosen": "A.", "rejected": "B.", "lang": 7}, "lang: must be a text"),
    ],
)
def test_a_row_of_another_form_or_of_none_is_refused_with_its_line(
    row: Row, problem: str, turns: Callable[..., Turns]
) -> None:
    with pytest.raises(UserError, match=rf"^FILE, line 2.*{re.escape(problem)}"):
        turns(PREFERENCES["texts"], row)


@pytest.mark.parametrize("fields", [{"instruction": "a", "output": "b"}, {"conversations": []}, {"text": "a"}])
def test_rows_of_no_known_form_are_told_what_they_have(fields: Row, turns: Callable[..., Turns]) -> None:
    with pytest.raises(
        UserError, match="FILE, line 1 is not a message of a known form: .*" + ", ".join(fields)
    ) as told:
        turns(fields)
    assert "prompt, chosen and rejected" in told.value.remedy


def test_a_column_of_the_file_says_nothing_about_use(turns: Callable[..., Turns]) -> None:
    rows = [
        {"message_id": "a", "role": "prompter", "text": "a?", "lang": "en", "unusable": 7},
        {"message_id": "b", "parent_id": "a", "role": "assistant", "text": "A.", "lang": "en", "rank": 0},
    ]
    assert outline(turns(*rows)) == [([], "a?", [("A.", 0)])]


def test_parquet_gives_the_same(tmp_path: Path, turns: Callable[..., Turns]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    rows = [
        PREFERENCES["messages"] | {"source": "x"},
        PREFERENCES["prompt told twice"] | {"prompt": None, "source": "y"},
    ]
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    read = read_turns(read_messages(tmp_path / "rows.parquet", "FILE"), "en")
    assert outline(read) == outline(turns(*rows)) == [([], "A river?", RANKED)]


def test_demonstrations_of_one_s_own_are_imitated_beside_ranked_replies(
    json_lines: Callable[..., str], tmp_path: Path
) -> None:
    """Six pairs: 2 are held out, 2 for EFT, 2 left; with the four demonstrations IFT has six."""
    pairs = [{"prompt": f"question {n}?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(6)]
    shown = [{"messages": said(f"task {n}?", f"done {n}")} for n in range(4)]
    wanted: dict[str, Any] = {"ift": 6, "eft_prompts": 2, "eval_prompts": 2}
    ranked, demonstrations = json_lines(pairs, "pairs.jsonl"), json_lines(shown, "shown.jsonl")
    both = SeedDataSettings(messages=ranked, demonstrations=demonstrations, **wanted)
    manifest = make_seed_data(str(tmp_path / "store"), both)
    uri = join(str(tmp_path / "store"), "seed_data", manifest.key)
    assert {one.completion for one in read_records(uri, "ift", Example)} >= {f"done {n}" for n in range(4)}
    assert all(len(one.replies) == 2 for one in read_records(uri, "eval", SeedPrompt))
    assert manifest.counts.kept == {"ift": 6, "eft": 2, "eval": 2, "eft replies": 4, "eval replies": 4}
    assert set(manifest.parents) == {"messages", "demonstrations"}
    with pytest.raises(UserError, match="as data.messages and this one as data.demonstrations"):
        make_seed_data(str(tmp_path / "store"), SeedDataSettings(messages=demonstrations, **wanted))


def test_the_rows_that_the_page_shows_are_read(tmp_path: Path) -> None:
    """Each block of the page of one's own data, by the number of prompts in it."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "your-own.md").read_text(), re.DOTALL)
    found = []
    for block in blocks:
        path = tmp_path / "rows.jsonl"
        path.write_text(block)
        assert all(json.loads(line) for line in block.splitlines())
        found.append(len(read_turns(read_messages(path, "it"), "en").prompts))
    assert found == [1, 1, 1, 1]
