"""What pairs ask for beside a round's candidates and judgements: which model is asked what, and what comes of it.

M1 and M2 are served by scripts: M1 writes "old" answers and M2 "new" ones. M2's judge prefers the longer answer, M1's
the shorter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from components.core.context import RunContext, RunData, RunState
from components.core.errors import UserError
from components.core.journal import read_journal, write_journal
from components.core.records import Counts, Example, Pair, Prompt, Question
from components.core.settings import Settings
from components.core.stage import Stage, parent, read_records
from components.judging.judging import judge_candidates
from components.judging.settings import JudgingSettings
from components.pairs.asking import require_own_judge
from components.pairs.pairs import pair_candidates
from components.sampling.sampling import sample_candidates
from components.sampling.settings import SamplingSettings
from tests.helpers.scripted_endpoint import Script, said, served

SAMPLING = {"candidates": 2, "seed": 1}
JUDGING = {"samples": 1, "prompt": "JUDGE {instruction} # {response}", "seed": 1}


class Number(Settings):
    """So that stages of one kind differ."""

    number: int


class Run:
    """A run that has made M1 and M2, whose answers to the second round's prompts are there and judged."""

    def __init__(self, root: str, url: str, script: Script, samples: int = 1, **pairs: Any) -> None:
        judged = JUDGING | {"samples": samples}
        recipe = {"name": "toy", "sampling": SAMPLING, "judging": judged, "pairs": pairs}
        self.context = RunContext(root, "run", recipe, "", "endpoint", f"{url}/{{model}}", "", "", "w", "t", "")
        self.context.write()
        self.script, self.root = script, root
        models = {name: self.published("dpo", n, examples=[]) for n, name in enumerate(("m1", "m2"))}
        for name, uri in models.items():
            script.routes[f"/{name}/info"] = {"model_id": f"{name}-{parent(uri).digest}", "model_sha": uri}
        prompts = [self.published("prompts", n, prompts=[Prompt(id=f"p{n}", text=f"ask {n}")]) for n in range(2)]
        seeds = self.published(
            "seed_data", 0, ift=[Example(id="h", kind="ift", prompt="ask people", completion="people say")]
        )
        checked = self.published("questions", 0, questions=[Question(id="p1", text="ask 1", answer="new 0")])
        data = RunData(seeds, checked=checked)
        state = RunState(self.context.uri, data, "m1", models["m1"], prompts=tuple(prompts))
        write_journal(root, "run", "states", "m1", state.to_dict())
        script.bodies.clear()
        sampling, judges = SamplingSettings(**SAMPLING), JudgingSettings(**judged)
        self.sampled = self.uri(sample_candidates(root, sampling, models["m2"], prompts[1], f"{url}/m2"))
        self.judged = self.uri(judge_candidates(root, judges, models["m2"], self.sampled, f"{url}/m2"))
        script.bodies.clear()
        made = {"candidates": self.sampled, "judgements": self.judged, "prompts": list(prompts)}
        self.state = asdict(state) | {"name": "m2", "model": models["m2"], **made}

    def published(self, name: str, number: int, **records: Any) -> str:
        stage = Stage(self.root, name, Number(number=number), {})
        stage.publish(Counts(), records | {"numbers": [Prompt(id=str(number), text="so that digests differ")]})
        return stage.uri

    def uri(self, manifest: Any) -> str:
        return f"{self.root}/{manifest.stage}/{manifest.key}"

    def pairs(self) -> list[Pair]:
        return read_records(pair_candidates(self.state), "pairs", Pair)

    def asked(self) -> Counter[tuple[str, str]]:
        """How often which model was asked for what."""
        return Counter((body["model"][:2], kind_of(body)) for body in self.script.bodies)

    def stages(self) -> set[str]:
        return {entry["name"] for entry in read_journal(self.root, "run", "stages")}


def kind_of(body: dict[str, Any]) -> str:
    kinds = {"JUDGE": "judgement", "COMPARE": "comparison"}
    return kinds.get(body["messages"][-1]["content"].split()[0], "answer")


def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    text, model = body["messages"][-1]["content"], body["model"][:2]
    if kind_of(body) == "answer":
        return said(f"{'old' if model == 'm1' else 'new'} {'x' * 3 * (body['seed'] % 7)}0"[:12])
    if kind_of(body) == "comparison":
        first, second = text.split(" # ")[-2:]
        return said(f"Verdict: {'A' if len(first) < len(second) else 'B'}")
    length = len(text.partition(" # ")[2])
    return said(
        f"{'so ' * (body['seed'] % 50)}Score: {max(0, 5 - length / 4) if model == 'm1' else min(5, length / 4):.2f}"
    )


@contextmanager
def run_of(folder: Path, **pairs: Any) -> Iterator[Run]:
    script = Script(answer)
    with served(script) as url:
        yield Run(str(folder / "store"), url, script, **pairs)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_ENDPOINT_API_KEY", "key")


def test_the_papers_pairs_ask_nobody(tmp_path: Path) -> None:
    with run_of(tmp_path) as run:
        [pair] = run.pairs()
        assert pair.rejected.startswith("new") and not run.asked()
        assert run.stages() == {"m2/pairs"}


def test_temporal_pairs_ask_the_first_model_and_the_judge_of_now(tmp_path: Path) -> None:
    """Two answers of M1 to the round's one prompt, two judgements of them by M2; a second time nothing is asked."""
    with run_of(tmp_path, rejected_from="first") as run:
        [pair] = run.pairs()
        assert pair.chosen.startswith("new") and pair.rejected.startswith("old")
        assert run.asked() == {("m1", "answer"): 2, ("m2", "judgement"): 2}
        assert run.stages() == {"m2/first_sampling", "m2/first_judging", "m2/pairs"}
        assert run.pairs() == [pair]
        assert run.asked().total() == 4


def test_cream_asks_the_model_before_for_its_ranking(tmp_path: Path) -> None:
    """M1's judge has M2's two answers the other way round: nothing of the order is left, the pair is turned."""
    with run_of(tmp_path, consistency=True) as run:
        [pair] = run.pairs()
        assert run.asked() == {("m1", "judgement"): 2}
        assert pair.doubt == 1.0
        assert run.stages() == {"m2/previous_judging", "m2/pairs"}


def test_spin_asks_for_one_answer_to_each_human_prompt(tmp_path: Path) -> None:
    with run_of(tmp_path, human_rounds=2) as run:
        [pair] = run.pairs()
        assert (pair.prompt, pair.chosen) == ("ask people", "people say")
        assert pair.rejected.startswith("new")
        assert run.asked() == {("m2", "answer"): 1}


def test_answers_that_are_known_need_no_question(tmp_path: Path) -> None:
    """By the questions that the run imported "new 0" is right; the judge prefers the longer answer."""
    with run_of(tmp_path) as run:
        assert [pair.rejected for pair in run.pairs()] == ["new 0"]
    with run_of(tmp_path / "checked", exact_answers={"questions": "imported"}) as run:
        [pair] = run.pairs()
        assert (pair.chosen, pair.chosen_score, pair.rejected_score) == ("new 0", 5, 0)
        assert not run.asked()


def test_answers_are_compared_by_who_judges_them(tmp_path: Path) -> None:
    """M2's two answers in both orders; the script prefers the shorter one, as M2's scores do not."""
    with run_of(tmp_path) as run:
        [by_scores] = run.pairs()
    with run_of(tmp_path / "compared", comparisons={"prompt": "COMPARE {instruction} # {first} # {second}"}) as run:
        [pair] = run.pairs()
        assert (pair.chosen, pair.rejected) == (by_scores.rejected, by_scores.chosen)
        assert (pair.chosen_score, pair.rejected_score) == (1, -1)
        assert run.asked() == {("m2", "comparison"): 2}
        assert run.stages() == {"m2/pairwise_judging", "m2/pairs"}
        assert run.pairs() == [pair] and run.asked().total() == 2


def test_a_meta_judge_is_asked_for_two_rounds(tmp_path: Path) -> None:
    """M2's answers have three judgements each, of one of them they are compared: 3 * 2 questions to M2. One pair of
    answers leaves no room for one of judgements, at 15 %; at a half it does."""
    meta = {"prompt": "COMPARE {instruction} # {first} # {second}", "share": 0.5}
    with run_of(tmp_path, samples=3, meta_judge=meta) as run:
        pairs = run.pairs()
        assert [pair.id.partition("/")[0] for pair in pairs] == ["p1", "judgement"]
        assert run.asked() == {("m2", "comparison"): 6}
        assert run.stages() == {"m2/meta_judging", "m2/pairs"}
        assert pairs[1].prompt.startswith("JUDGE ask 1 # new") and len(pairs[1].chosen) < len(pairs[1].rejected)
    with run_of(tmp_path / "later", samples=3, meta_judge=meta | {"rounds": 1}) as run:
        assert run.pairs() == pairs[:1] and not run.asked()


def test_another_judge_has_no_earlier_ranking(tmp_path: Path) -> None:
    with run_of(tmp_path, consistency=True) as run:
        require_own_judge(run.context)
        other = RunContext(**{**vars(run.context), "judge_endpoint": "http://somewhere"})
        with pytest.raises(UserError, match="set pairs.consistency to false"):
            require_own_judge(other)
        other.recipe["pairs"] = {"meta_judge": {}}
        with pytest.raises(UserError, match="set pairs.meta_judge to null"):
            require_own_judge(other)
