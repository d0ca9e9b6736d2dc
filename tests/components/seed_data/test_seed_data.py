"""The stage from file to records, and the same description without writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.core.claims import USED
from components.core.errors import UserError
from components.core.records import Counts, Example, SeedPrompt
from components.core.stage import read_records
from components.core.store import join
from components.seed_data.seed_data import describe, make_seed_data
from components.seed_data.settings import SeedDataSettings
from tests.helpers.paths import SHARED_DATA

SHARED = SHARED_DATA
FLAT = SHARED / "oasst2-en-ranked.messages.jsonl.gz"
TREES = SHARED / "oasst2-sample.trees.jsonl.gz"


def settings(messages: str, **fields: Any) -> SeedDataSettings:
    return SeedDataSettings(messages=messages, **({"ift": 4, "eft_prompts": 3, "eval_prompts": 2} | fields))


def messages_in(counts: Counts) -> int:
    kept = counts.kept
    return 2 * kept["ift"] + sum(n for name, n in kept.items() if name != "ift") + sum(counts.dropped.values())


@pytest.fixture
def ten(thread, json_lines) -> str:
    """Ten prompts with two ranked replies each: 30 messages."""
    return json_lines([row for n in range(10) for row in thread(f"p{n}", [0, 1])])


def test_the_stage_publishes_three_splits(ten, tmp_path):
    """2 + 3 prompts go to evaluation and EFT, 4 to IFT: left are one prompt with two replies, and 4 second replies."""
    manifest = make_seed_data(str(tmp_path), settings(ten))
    uri = join(str(tmp_path), "seed_data", manifest.key)
    ift, eft = read_records(uri, "ift", Example), read_records(uri, "eft", SeedPrompt)
    held_out = read_records(uri, "eval", SeedPrompt)
    assert (len(ift), len(eft), len(held_out)) == (4, 3, 2)
    assert manifest.counts.kept == {"ift": 4, "eft": 3, "eval": 2, "eft replies": 6, "eval replies": 4}
    assert manifest.counts.dropped == {
        "reply: IFT takes the best one alone": 4,
        "prompt: more than asked for": 1,
        "reply: its prompt was dropped": 2,
    }
    assert messages_in(manifest.counts) == manifest.metrics["messages"] == 30


def test_without_ift_the_others_take_what_there_is(ten, tmp_path):
    """data.ift 0: an instruct model needs no examples to imitate. 2 prompts are held out, 8 go to EFT."""
    manifest = make_seed_data(str(tmp_path), settings(ten, ift=0, eft_prompts=None))
    assert manifest.counts.kept == {"ift": 0, "eft": 8, "eval": 2, "eft replies": 16, "eval replies": 4}
    assert messages_in(manifest.counts) == 30


@pytest.mark.parametrize("form", ["table", "trees"])
def test_conversations_come_with_what_was_said_before(thread, as_tree, json_lines, tmp_path, form):
    """Ten conversations of a system message and two turns with two ranked replies each: 70 messages.

    One conversation is held out, two are IFT, of the other seven each turn is for EFT. A held-out question is nowhere
    part of what is trained on.
    """
    trees = []
    for n in range(10):
        (first, *replies), (second, *later) = thread(f"p{n}", [0, 1]), thread(f"q{n}", [0, 1])
        system = first | {"message_id": f"s{n}", "role": "system", "text": "Be brief.", "lang": None}
        moved = [first | {"parent_id": f"s{n}"}, *replies, second | {"parent_id": f"p{n}-0"}, *later]
        trees.append([system, *moved])
    rows = [row for tree in trees for row in tree] if form == "table" else [as_tree(tree) for tree in trees]
    wanted = settings(json_lines(rows), ift=4, eval_prompts=2, eft_prompts=None, turns="all")
    manifest = make_seed_data(str(tmp_path), wanted)
    kept = {"ift": 4, "eft": 14, "eval": 2, "eft replies": 28, "eval replies": 4, "system messages": 10}
    assert manifest.counts.kept == kept
    assert messages_in(manifest.counts) == 70
    uri = join(str(tmp_path), "seed_data", manifest.key)
    held_out = {prompt.id[1:] for prompt in read_records(uri, "eval", SeedPrompt)}
    for record in [*read_records(uri, "ift", Example), *read_records(uri, "eft", SeedPrompt)]:
        roles = [message["role"] for message in record.history]
        assert roles == (["system"] if record.id[0] == "p" else ["system", "user", "assistant"])
        assert record.id[1:] not in held_out


def test_identity_is_the_content_and_not_the_place(ten, tmp_path):
    copy = tmp_path / "elsewhere"
    copy.write_bytes(Path(ten).read_bytes())
    first = make_seed_data(str(tmp_path / "store"), settings(ten))
    again = make_seed_data(str(tmp_path / "store"), settings(str(copy)))
    assert (again.key, again.parents["messages"].uri) == (first.key, ten)
    copy.write_text(copy.read_text() + "\n")
    assert make_seed_data(str(tmp_path / "store"), settings(str(copy))).key != first.key


def test_describe_counts_the_same_and_writes_nothing(ten, tmp_path):
    described = describe(settings(ten)).counts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl"]
    assert described == make_seed_data(str(tmp_path / "store"), settings(ten)).counts


def test_fewer_than_asked_for_is_a_warning(ten, tmp_path, capsys):
    """Ten prompts, 2 + 3 reserved: 5 are left for the 3,200 of IFT."""
    manifest = make_seed_data(str(tmp_path), settings(ten, ift=3200))
    assert (manifest.counts.kept["ift"], manifest.metrics["ift_asked"]) == (5, 3200)
    assert "5 of 3,200 for ift" in capsys.readouterr().err


def test_an_empty_split_says_what_to_lower(ten, tmp_path):
    """Evaluation asks for 8 and EFT for 572 of ten prompts: EFT gets 2, IFT none."""
    with pytest.raises(UserError) as caught:
        make_seed_data(str(tmp_path / "store"), settings(ten, eft_prompts=572, eval_prompts=8))
    assert "10 usable prompts out of 30 messages" in caught.value.problem
    assert "0 of 4 for ift; 2 of 572 for eft" in caught.value.problem
    assert "lower data.eval_prompts (now 8) and data.eft_prompts (now 572)" in caught.value.remedy
    assert {path.name for path in (tmp_path / "store").rglob("*") if path.is_file()} <= {USED}  # for `srlm gc` alone


def test_where_ift_leaves_nothing_for_eft_it_says_what_to_lower(ten, tmp_path):
    everything = SeedDataSettings(messages=ten, ift=3200, eval_prompts=2)
    with pytest.raises(UserError, match="lower data.ift .now 3200. or data.eval_prompts .now 2., or give data.eft_pro"):
        make_seed_data(str(tmp_path / "store"), everything)


def test_data_without_ranks_says_so(thread, json_lines, tmp_path):
    path = json_lines(thread("p", [None, None]))
    with pytest.raises(UserError, match="2 reply: not ranked.* 0 prompts in 'en' have 2 ranked replies"):
        make_seed_data(str(tmp_path), settings(path))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_one_error(content, tmp_path):
    (tmp_path / "empty").write_bytes(content)
    with pytest.raises(UserError, match="holds no messages"):
        make_seed_data(str(tmp_path), settings(str(tmp_path / "empty")))


def test_the_data_that_ships_with_the_package_is_clean():
    """64 prompts, 3 or 4 replies each, all ranked: nothing but IFT's unused replies is dropped."""
    counts = describe(settings("builtin:demo", ift=40, eft_prompts=16, eval_prompts=8)).counts
    assert {name: counts.kept[name] for name in ("ift", "eft", "eval")} == {"ift": 40, "eft": 16, "eval": 8}
    assert set(counts.dropped) == {"reply: IFT takes the best one alone"}


@pytest.mark.skipif(not FLAT.exists(), reason="the OpenAssistant sample is not beside this checkout")
def test_a_released_table_of_ranked_prompts():
    """604 prompts with 1,989 replies, all ranked: 400 + 150 + 54 = 604."""
    counts = describe(settings(str(FLAT), ift=400, eft_prompts=150, eval_prompts=54)).counts
    assert [counts.kept[name] for name in ("ift", "eft", "eval")] == [400, 150, 54]
    assert messages_in(counts) == 604 + 1989


@pytest.mark.skipif(not TREES.exists(), reason="the OpenAssistant sample is not beside this checkout")
def test_released_trees_of_all_states_and_languages():
    """1,552 messages, 52 of them second copies; 48 finished English trees have ranks: 20 + 20 + 8 = 48."""
    counts = describe(settings(str(TREES), ift=20, eft_prompts=20, eval_prompts=8)).counts
    assert [counts.kept[name] for name in ("ift", "eft", "eval")] == [20, 20, 8]
    assert messages_in(counts) == 1552
