"""The splits never share a prompt, are stable, and take what there is."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from components.core.records import Reply, SeedPrompt
from components.seed_data.settings import SeedDataSettings
from components.seed_data.splits import Splits, split


def prompt(id: str, ranks: Sequence[int]) -> SeedPrompt:
    return SeedPrompt(
        id=id, text=f"question {id}", replies=[Reply(id=f"{id}-{r}", text=f"text {r}", rank=r) for r in ranks]
    )


def settings(
    ift: int = 3, eft: int | None = 2, held_out: int = 2, seed: int = 0, min_replies: int = 2
) -> SeedDataSettings:
    return SeedDataSettings(
        messages="-", ift=ift, eft_prompts=eft, eval_prompts=held_out, seed=seed, min_replies=min_replies
    )


def ids(splits: Splits) -> list[set[str]]:
    return [{record.id for record in part} for part in (splits.ift, splits.eft, splits.eval)]


RANKS = st.sampled_from([(0,), (1,), (0, 1), (1, 2), (0, 1, 2)])


@given(st.lists(RANKS, max_size=15), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3))
def test_splits_are_disjoint_and_every_message_is_counted(ranks, ift, eft, held_out, seed):
    """An IFT example stands for two messages, a kept prompt for itself and its replies; the rest is in `dropped`."""
    prompts = [prompt(f"p{n}", each) for n, each in enumerate(ranks)]
    splits = split(prompts, settings(ift, eft, held_out, seed))
    a, b, c = ids(splits)
    assert not (a & b or a & c or b & c)
    assert (len(splits.ift) <= ift, len(splits.eft) <= eft, len(splits.eval) <= held_out) == (True, True, True)
    kept = 2 * len(splits.ift) + sum(1 + len(p.replies) for p in [*splits.eft, *splits.eval])
    assert kept + splits.dropped.total() == sum(1 + len(p.replies) for p in prompts)
    assert all(len(p.replies) >= 2 for p in [*splits.eft, *splits.eval])


@given(
    st.lists(st.tuples(RANKS, st.integers(0, 4)), max_size=15),
    *(st.integers(0, 5),) * 2,
    st.none() | st.integers(1, 5),
    st.integers(0, 3),
)
def test_no_conversation_is_in_two_sets(turns, ift, validation, eft, seed):
    """Else a held-out question would be trained on as what was said before another one. All messages are counted."""
    prompts = [prompt(f"p{n}", ranks) for n, (ranks, _) in enumerate(turns)]
    conversations = {f"p{n}": f"c{number}" for n, (_, number) in enumerate(turns)}
    asked = settings(ift, eft, 2, seed).model_copy(update={"validation_prompts": validation})
    splits = split(prompts, asked, conversations=conversations)
    sets = [{conversations[id] for id in part} for part in (*ids(splits), {one.id for one in splits.validation})]
    assert sum(map(len, sets)) == len(set().union(*sets))
    kept = 2 * len(splits.ift) + sum(1 + len(p.replies) for p in [*splits.eft, *splits.eval]) + len(splits.validation)
    assert kept + splits.dropped.total() == sum(1 + len(p.replies) for p in prompts)


def test_the_other_turns_of_a_conversation_come_with_it():
    """Three conversations of two turns each: the held-out one is held out whole."""
    prompts = [prompt(f"p{n}", (0, 1)) for n in range(6)]
    conversations = {f"p{n}": f"c{n // 2}" for n in range(6)}
    splits = split(prompts, settings(ift=2, eft=2, held_out=2), conversations=conversations)
    assert [{conversations[id] for id in part} for part in ids(splits)] != [set()] * 3
    assert all(len(part) == 2 and len({conversations[id] for id in part}) == 1 for part in ids(splits))


@given(st.permutations(range(12)))
def test_the_order_of_the_file_does_not_matter(order):
    prompts = [prompt(f"p{n}", (0, 1)) for n in range(12)]
    assert split([prompts[n] for n in order], settings()) == split(prompts, settings())


def test_a_removed_prompt_moves_no_other_out_of_evaluation():
    """The order is a property of each prompt: without an IFT prompt, evaluation and EFT stay what they were."""
    prompts = [prompt(f"p{n}", (0, 1)) for n in range(12)]
    before = split(prompts, settings())
    after = split([p for p in prompts if p.id != before.ift[0].id], settings())
    assert (after.eft, after.eval) == (before.eft, before.eval)


def test_the_seed_changes_the_draw():
    prompts = [prompt(f"p{n}", (0, 1)) for n in range(40)]
    assert ids(split(prompts, settings(seed=0))) != ids(split(prompts, settings(seed=1)))


def test_ift_takes_the_reply_that_was_ranked_best():
    [example] = split([prompt("p", (0,))], settings()).ift
    assert (example.prompt, example.completion, example.kind) == ("question p", "text 0", "ift")


def test_without_its_best_reply_a_prompt_is_no_ift_example():
    """Rank 0 was deleted: rank 1 is not the best answer, only the best of those left. EFT may still compare them."""
    splits = split([prompt("p", (1,)), prompt("q", (1, 2))], settings())
    assert not splits.ift
    assert [p.id for p in splits.eval] == ["q"]
    assert splits.dropped == {
        "prompt: no best reply for IFT, too few ranked ones for EFT": 1,
        "reply: its prompt was dropped": 1,
    }


def test_a_scarce_file_serves_evaluation_then_eft_then_ift():
    """Three multi-ranked prompts, two asked for by each of evaluation and EFT; IFT gets the single-ranked ones."""
    prompts = [prompt(f"m{n}", (0, 1)) for n in range(3)] + [prompt(f"s{n}", (0,)) for n in range(2)]
    splits = split(prompts, settings(ift=5))
    assert splits.sizes() == {"eval": 2, "eft": 1, "ift": 2}


def test_min_replies_decides_what_eft_may_use():
    splits = split([prompt("two", (0, 1)), prompt("three", (0, 1, 2))], settings(min_replies=3))
    assert ids(splits) == [{"two"}, set(), {"three"}]


def test_without_a_number_eft_takes_all_ranked_prompts_that_the_others_leave():
    """Of 12: two held out, three for IFT, one for validation that EFT could not use; nothing ranked is left over."""
    prompts = [prompt(f"p{n}", (0, 1)) for n in range(12)] + [prompt("single", (1,))]
    chosen = settings(eft=None).model_copy(update={"validation_prompts": 1})
    splits = split(prompts, chosen)
    assert splits.sizes() == {"eval": 2, "ift": 3, "eft": 7, "validation": 1}
    assert [one.id for one in splits.validation] == ["single"]
    assert splits.dropped == {
        "reply: IFT takes the best one alone": 3,
        "reply: validation takes prompts alone": 1,
    }


@given(st.lists(RANKS, max_size=15), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3), st.integers(0, 3))
def test_then_too_every_message_is_counted(ranks, ift, held_out, validation, seed):
    prompts = [prompt(f"p{n}", each) for n, each in enumerate(ranks)]
    chosen = settings(ift, None, held_out, seed).model_copy(update={"validation_prompts": validation})
    splits = split(prompts, chosen)
    parts = [*ids(splits), {one.id for one in splits.validation}]
    assert sum(map(len, parts)) == len(set().union(*parts))
    kept = 2 * len(splits.ift) + sum(1 + len(p.replies) for p in [*splits.eft, *splits.eval]) + len(splits.validation)
    assert kept + splits.dropped.total() == sum(1 + len(p.replies) for p in prompts)
