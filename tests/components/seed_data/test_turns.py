"""What becomes a prompt with ranked replies, and that everything else is counted exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from components.core.texts import normalised
from components.seed_data.messages import Message
from components.seed_data.turns import Turns, read_turns


def group(*threads: Iterable[dict], which: str = "first") -> Turns:
    return read_turns([Message.model_validate(row) for rows in threads for row in rows], "en", which)


def accounted(found: Turns) -> int:
    return sum(1 + len(prompt.replies) for prompt in found.prompts) + found.systems + found.dropped.total()


def said_by(role: str, id: str, parent: str | None, text: str = "", **fields: Any) -> dict[str, Any]:
    return {"message_id": id, "parent_id": parent, "role": role, "text": text or f"text {id}", "lang": "en", **fields}


def three_turns(system: bool = False) -> list[dict[str, Any]]:
    """q1 has the replies a1 (better) and b1; a1 is asked q2, b1 is asked q3, each with two replies."""
    before = [said_by("system", "s", None, "Be brief.")] if system else []
    return [
        *before,
        said_by("prompter", "q1", "s" if system else None),
        said_by("assistant", "a1", "q1", rank=0),
        said_by("assistant", "b1", "q1", rank=1),
        said_by("prompter", "q2", "a1"),
        said_by("assistant", "a2", "q2", rank=0),
        said_by("assistant", "b2", "q2", rank=1),
        said_by("prompter", "q3", "b1"),
        said_by("assistant", "a3", "q3", rank=0),
        said_by("assistant", "b3", "q3", rank=1),
    ]


def test_replies_come_best_first(thread):
    [prompt] = group(thread("p", [2, 0, 1])).prompts
    assert [(reply.id, reply.rank) for reply in prompt.replies] == [("p-1", 0), ("p-2", 1), ("p-0", 2)]


def test_no_rank_is_not_the_best_rank(thread):
    """One ranked reply of two is left; the unranked one is neither best nor worst."""
    found = group(thread("p", [None, 0]))
    assert [reply.id for reply in found.prompts[0].replies] == ["p-1"]
    assert found.dropped == {"reply: not ranked": 1}


def test_a_prompt_without_ranked_replies_is_dropped(thread):
    found = group(thread("p", [None, None]), thread("q", []))
    assert not found.prompts
    assert found.dropped == {"reply: not ranked": 2, "prompt: no ranked reply": 2}


def test_tied_replies_have_no_order(thread):
    """Ranks 0, 1, 1, 2: which of the two 1 is better is not known, so both go."""
    found = group(thread("p", [0, 1, 1, 2]))
    assert [reply.rank for reply in found.prompts[0].replies] == [0, 2]
    assert found.dropped == {"reply: tied rank": 2}


def test_each_reason_is_counted_for_prompt_and_reply(thread):
    """Six unusable threads of one prompt and one reply: two messages a reason."""
    found = group(
        thread("a", [0], lang="es"),
        thread("b", [0], deleted=True),
        thread("c", [0], review_result=False),
        thread("d", [0], synthetic=True),
        thread("e", [0], tree_state="growing"),
        [row | {"text": " \n"} for row in thread("f", [0])],
    )
    assert not found.prompts
    assert found.dropped == {
        "message: not in en": 2,
        "message: deleted": 2,
        "message: review failed": 2,
        "message: synthetic": 2,
        "message: tree not ready for export": 2,
        "message: empty text": 2,
    }


def test_a_review_that_was_not_made_has_not_failed(thread):
    assert len(group(thread("p", [0], review_result=None, synthetic=None, tree_state=None)).prompts) == 1


def test_only_the_first_turn_is_used(thread):
    """p-0 has a follow-up question with an answer: both lie deeper. The order of the rows does not matter."""
    rows = thread("p", [0])
    question = rows[0] | {"message_id": "q", "parent_id": "p-0"}
    answer = rows[1] | {"message_id": "a", "parent_id": "q"}
    for order in ([*rows, question, answer], [answer, question, *reversed(rows)]):
        found = group(order)
        assert found.dropped == {"message: deeper than the first turn": 2}
        assert [prompt.id for prompt in found.prompts] == ["p"]


def test_of_all_turns_each_is_a_prompt_with_what_came_before_it():
    """Branches go apart: what b1 was asked has nothing of a1. The order of the rows does not matter."""
    for order in (three_turns(), three_turns()[::-1]):
        found = group(order, which="all")
        assert {prompt.id: prompt.history for prompt in found.prompts} == {
            "q1": [],
            "q2": [{"role": "user", "content": "text q1"}, {"role": "assistant", "content": "text a1"}],
            "q3": [{"role": "user", "content": "text q1"}, {"role": "assistant", "content": "text b1"}],
        }
        assert found.conversations == dict.fromkeys(["q1", "q2", "q3"], "q1")
        assert (accounted(found), found.dropped) == (9, {})


def test_a_system_message_comes_before_the_first_turn():
    """With `first`, too: it is no turn."""
    system = {"role": "system", "content": "Be brief."}
    [first] = group(three_turns(system=True)).prompts
    assert (first.id, first.history) == ("q1", [system])
    found = group(three_turns(system=True), which="all")
    assert all(prompt.history[0] == system for prompt in found.prompts)
    assert found.conversations["q3"] == "q1"
    assert (found.systems, accounted(found)) == (1, 10)


def test_what_follows_a_dropped_message_is_dropped():
    """a1 was deleted: nobody knows what q2 speaks of. Its replies go with it, and q3 stays."""
    rows = three_turns()
    rows[1]["deleted"] = True
    found = group(rows, which="all")
    assert [prompt.id for prompt in found.prompts] == ["q1", "q3"]
    assert found.dropped == {
        "message: deleted": 1,
        "message: an earlier one of its conversation is missing or was dropped": 1,
        "reply: its prompt was dropped": 2,
    }


def test_the_same_question_in_another_conversation_is_another_prompt():
    """ "Why?" means something else after another answer; the same conversation twice is one."""
    rows = [row | {"text": "Why?"} if row["message_id"] in ("q2", "q3") else row for row in three_turns()]
    again = [
        row
        | {"message_id": f"{row['message_id']}-again", "parent_id": row["parent_id"] and f"{row['parent_id']}-again"}
        for row in rows
    ]
    found = group(rows, again, which="all")
    assert [prompt.id for prompt in found.prompts] == ["q1", "q2", "q3"]
    assert found.dropped == {"prompt: duplicate text": 3, "reply: its prompt was dropped": 6}


def test_replies_without_their_prompt_are_counted(thread):
    missing = thread("p", [0, 1])[1:]
    deleted = thread("q", [0])
    deleted[0]["deleted"] = True
    root = thread("r", [0])[1] | {"parent_id": None}
    assert group(missing, deleted, [root]).dropped == {
        "reply: its prompt is not in the file": 2,
        "message: deleted": 1,
        "reply: its prompt was dropped": 1,
        "message: answers nothing": 1,
    }


def test_the_same_prompt_text_is_used_once(thread):
    """The copy without ranked replies does not displace the one that has them."""
    found = group(
        thread("a", [None], text="What is  TIME?"),
        thread("b", [0, 1], text="What is time?"),
        thread("c", [0], text=" what is time?\n"),
    )
    assert [prompt.id for prompt in found.prompts] == ["b"]
    assert found.dropped["prompt: duplicate text"] == 1
    assert found.dropped["reply: its prompt was dropped"] == 1


def test_a_message_that_comes_twice_is_used_once(thread):
    """Both copies of the reply have rank 0, which must not look like a tie."""
    found = group(thread("p", [0]), thread("p", [0]))
    assert len(found.prompts[0].replies) == 1
    assert found.dropped == {"message: duplicate id": 2}


def test_normalised_ignores_case_spaces_and_compatibility_forms():
    assert normalised(" Ｗhat\n IS it ") == "what is it"


IDS = st.sampled_from("abcdef")
MESSAGES = st.builds(
    Message,
    message_id=IDS,
    parent_id=st.none() | IDS,
    role=st.sampled_from(["prompter", "prompter", "assistant", "assistant", "system"]),
    text=st.sampled_from(["", "x", "y", "z"]),
    lang=st.sampled_from(["en", "en", "en", "es", None]),
    rank=st.none() | st.integers(0, 2),
    deleted=st.sampled_from([None, False, False, True]),
    tree_state=st.sampled_from([None, "ready_for_export", "growing"]),
)


@given(st.lists(MESSAGES, max_size=12), st.sampled_from(["first", "all"]))
def test_every_message_is_accounted_for_once(messages, which):
    """Whatever the file holds: messages read = prompts kept + their replies + system messages + everything dropped."""
    found = read_turns(messages, "en", which)
    assert found.read == len(messages) == accounted(found)
    for prompt in found.prompts:
        ranks = [reply.rank for reply in prompt.replies]
        assert None not in ranks
        assert ranks == sorted(set(ranks))
