"""Best against worst of each prompt: what becomes a pair, and why the rest does not."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.records import Candidate, Counts, Judgement, Manifest, Pair
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.pairs.pairs import make_pairs
from components.pairs.scores import Score, count_votes, shuffle_scores
from components.pairs.selection import select_pairs as select
from components.pairs.settings import PairsSettings


def candidates(*texts: str, prompt: str = "p", cut: tuple[int, ...] = ()) -> list[Candidate]:
    return [
        Candidate(
            id=f"{prompt}/{n}",
            prompt_id=prompt,
            prompt=f"question {prompt}",
            text=text,
            finish_reason="length" if n in cut else "stop",
            seed=0,
            tokens=1,
        )
        for n, text in enumerate(texts)
    ]


def scores(*values: float | None, prompt: str = "p", votes: int = 3) -> dict[str, Score]:
    return {f"{prompt}/{n}": Score(value, votes) for n, value in enumerate(values) if value is not None}


def select_pairs(
    group: list[Candidate], scored: dict[str, Score], rho: float, **settings: Any
) -> tuple[list[Pair], Counter[str]]:
    pairs, dropped = select(group, scored, PairsSettings(length_control=(rho,), **settings))
    return list(pairs.values()), dropped


def test_the_best_is_chosen_and_the_worst_rejected() -> None:
    pairs, dropped = select_pairs(candidates("a", "b", "c", "d"), scores(2, 5, 1, 3), 0)
    assert [(p.chosen, p.rejected, p.chosen_score, p.rejected_score) for p in pairs] == [("b", "c", 5, 1)]
    assert not dropped


def test_a_tie_drops_its_prompt_and_not_the_others() -> None:
    texts = candidates("a", "b", prompt="tied") + candidates("a", "b", prompt="fine")
    pairs, dropped = select_pairs(texts, scores(4, 4, prompt="tied") | scores(4, 3, prompt="fine"), 0)
    assert [p.id for p in pairs] == ["fine"]
    assert dropped == Counter({"prompt: tie": 1})


def test_means_on_a_third_grid_are_compared_with_a_tolerance() -> None:
    """(1 + 2 + 4) / 3 summed in two orders, and 7/3 computed at once, are the same score."""
    noisy = scores(sum([1 / 3, 2 / 3, 4 / 3]), 7 / 3)
    assert select_pairs(candidates("a", "b"), noisy, 0)[1] == Counter({"prompt: tie": 1})
    assert len(select_pairs(candidates("a", "b"), scores(7 / 3, 8 / 3), 0)[0]) == 1  # not floored to 2 and 2


def test_a_missing_score_is_not_zero() -> None:
    """A candidate without a parsed judgement is neither rejected nor chosen."""
    pairs, dropped = select_pairs(candidates("a", "b", "c"), scores(None, 4, 2), 0)
    assert (pairs[0].chosen, pairs[0].rejected) == ("b", "c")
    assert dropped == Counter({"candidate: no parsed judgement": 1})


def test_a_cut_candidate_never_becomes_part_of_a_pair() -> None:
    pairs, dropped = select_pairs(candidates("a", "b", "c", cut=(0, 2)), scores(5, 4, 1), 0)
    assert not pairs
    assert dropped == Counter({"candidate: cut off or unanswered": 2, "prompt: fewer than two scored candidates": 1})


def test_equal_texts_make_no_pair() -> None:
    assert select_pairs(candidates("same  text", "same text"), scores(5, 1), 0)[1] == Counter(
        {"prompt: equal texts": 1}
    )


def test_length_control_prefers_short_chosen_and_long_rejected() -> None:
    """rho = 0.1 on scores 0 to 5: chosen from s >= 4.5, the shortest; rejected from s <= 0.5, the longest."""
    texts = candidates("long " * 9, "short", "x", "long " * 8)
    pairs, _ = select_pairs(texts, scores(5, 4.5, 0, 0.5), 0.1)
    assert (pairs[0].chosen, pairs[0].rejected) == ("short", "long " * 8)


def test_without_length_control_the_extremes_are_paired() -> None:
    texts = candidates("long " * 9, "short", "x", "long " * 8)
    pairs, _ = select_pairs(texts, scores(5, 4.5, 0, 0.5), 0)
    assert (pairs[0].chosen, pairs[0].rejected) == ("long " * 9, "x")


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 15).map(lambda thirds: thirds / 3)), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.1, 0.5]),
)
def test_chosen_always_beats_rejected_and_every_prompt_is_accounted_for(values: list[float | None], rho: float) -> None:
    texts = candidates(*(f"text {n} " + "w" * n for n in range(len(values))))
    pairs, dropped = select_pairs(texts, scores(*values), rho)
    assert all(p.chosen_score > p.rejected_score for p in pairs)
    assert len(pairs) + sum(n for reason, n in dropped.items() if reason.startswith("prompt:")) == 1
    assert dropped["candidate: no parsed judgement"] == values.count(None)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_the_order_of_candidates_does_not_matter(order: list[int], rho: float) -> None:
    texts = candidates("a", "bb", "cc", "dddd")
    expected, _ = select_pairs(texts, scores(3, 5, 5, 1), rho)
    assert select_pairs([texts[n] for n in order], scores(3, 5, 5, 1), rho)[0] == expected
    assert expected[0].rejected == "dddd"


def test_among_equal_scores_no_length_is_preferred() -> None:
    """400 prompts, each with a short and a long best, a short and a long worst answer.

    By chance the short one is taken in 200 of them (standard deviation 10; 150 and 250 are five of them away), on
    either side. The shortest best and the longest worst would be 400 and 0.
    """
    groups = [candidates("good", "good " * 9, "bad", "bad " * 9, prompt=f"p{n}") for n in range(400)]
    scored = {id: s for n in range(400) for id, s in scores(5, 5, 1, 1, prompt=f"p{n}").items()}
    pairs, _ = select_pairs([one for group in groups for one in group], scored, 0)
    assert 150 < sum(pair.chosen == "good" for pair in pairs) < 250
    assert 150 < sum(pair.rejected == "bad" for pair in pairs) < 250
    another, _ = select_pairs([one for group in groups for one in group], scored, 0, seed=1)
    assert [pair.chosen for pair in another] != [pair.chosen for pair in pairs]


def test_with_length_control_the_shorter_of_equal_bests_is_chosen() -> None:
    texts = candidates("good " * 9, "good", "bad", "bad " * 9)
    pairs, _ = select_pairs(texts, scores(5, 5, 1, 1), 0.1)
    assert (pairs[0].chosen, pairs[0].rejected) == ("good", "bad " * 9)


@pytest.mark.parametrize(("gap", "kept"), [(0.0, 3), (1.0, 2), (4 / 3, 1), (2.0, 0)])
def test_scores_that_are_too_close_make_no_pair(gap: float, kept: int) -> None:
    """Gaps of 1/3, 1 and 4/3, on the grid of means of three; a gap that is just min_gap is wide enough."""
    texts = [one for n in range(3) for one in candidates("a", "b", prompt=f"p{n}")]
    scored: dict[str, Score] = {}
    for n, values in enumerate([(7 / 3, 2.0), (10 / 3, 7 / 3), (11 / 3, 7 / 3)]):
        scored |= scores(*values, prompt=f"p{n}")
    pairs, dropped = select_pairs(texts, scored, 0, min_gap=gap)
    assert len(pairs) == kept
    assert dropped == (Counter({"prompt: scores closer than min_gap": 3 - kept}) if kept < 3 else Counter())


def test_a_pair_says_how_many_votes_are_behind_each_side() -> None:
    """Three judgements of the first, of which one cannot be parsed; two of the second."""
    first, second = candidates("a", "b")
    votes = [judged(first, 5.0), judged(first, 4.0), judged(first, None), judged(second, 1.0), judged(second, 2.0)]
    counted = count_votes([*votes, judged(second, 3.0)])
    assert counted == {first.id: Score(4.5, 2), second.id: Score(2.0, 3)}
    [pair] = select_pairs([first, second], counted, 0)[0]
    assert (pair.chosen_votes, pair.rejected_votes) == (2, 3)


def test_shuffled_scores_are_the_same_ones_on_other_candidates() -> None:
    """1,000 candidates: all ids and all scores stay, and by chance about one in six (two of 12 scores each) agrees.

    Scores of id n are n % 6, so a random deal gives a candidate its own score with probability 1/6: 167 of 1,000,
    standard deviation 12; 100 and 230 are more than five of them away.
    """
    before = {f"c{n}": Score(float(n % 6), 3) for n in range(1000)}
    dealt = shuffle_scores(before, seed=3)
    assert dealt.keys() == before.keys()
    assert Counter(dealt.values()) == Counter(before.values())
    assert 100 < sum(dealt[id] == before[id] for id in before) < 230


def test_the_shuffle_follows_the_seed_and_not_the_order() -> None:
    before = {f"c{n}": Score(float(n), n) for n in range(50)}
    assert shuffle_scores(dict(reversed(before.items())), seed=3) == shuffle_scores(before, seed=3)
    assert shuffle_scores(before, seed=4) != shuffle_scores(before, seed=3)


def stage(root: Path, name: str, **records: list[Candidate] | list[Judgement]) -> str:
    made = Stage(str(root), name, Settings(), {})
    made.publish(Counts(), records)
    return made.uri


def judged(candidate: Candidate, score: float | None) -> Judgement:
    return Judgement(
        id=f"{candidate.id}/0",
        prompt_id=candidate.prompt_id,
        candidate_id=candidate.id,
        completion="",
        finish_reason="stop",
        score=score,
        judge_prompt="",
        seed=0,
        tokens=1,
    )


def test_with_shuffled_scores_the_better_text_is_chosen_half_of_the_time(tmp_path: Path) -> None:
    """200 prompts with a good and a bad answer, scored 5 and 1.

    Without shuffling the good one is chosen in all 200. Dealt out at random, a prompt gets two equal scores half of the
    time; of the about 100 pairs left about 50 prefer the good one (standard deviation 5).
    """
    groups = [candidates("good", "bad", prompt=f"p{n}") for n in range(200)]
    sampled = stage(tmp_path, "sampling", candidates=[one for group in groups for one in group])
    judgements = [judged(one, 5.0 if one.text == "good" else 1.0) for group in groups for one in group]
    scored = stage(tmp_path, "judging", judgements=judgements)

    def chosen(settings: PairsSettings) -> Counter[str]:
        return Counter(pair.chosen for pair in read_pairs(make_pairs(str(tmp_path), settings, sampled, scored)))

    def read_pairs(manifest: Manifest) -> list[Pair]:
        return read_records(f"{tmp_path}/pairs/{manifest.key}", "pairs", Pair)

    assert chosen(PairsSettings()) == {"good": 200}
    shuffled = chosen(PairsSettings(shuffle_scores=True))
    assert 70 < shuffled.total() < 130
    assert 20 < shuffled["good"] < 80
