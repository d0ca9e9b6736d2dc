"""A rubric of each prompt, written by the judge: what it is asked, what it is then shown, and what comes of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.context import RunContext
from components.core.errors import UserError
from components.core.journal import read_journal
from components.core.records import Candidate, Counts, Judgement, Prompt
from components.core.settings import Settings
from components.core.stage import Stage, read_manifest, read_records
from components.judging.judging import judge_candidates, judge_model
from components.judging.rubrics import HEADING, write_rubrics
from components.judging.settings import JudgingSettings, RubricSettings
from components.sampling.sampling import sample_candidates
from components.sampling.settings import SamplingSettings
from pipelines.recipe import load_recipe
from tests.helpers.scripted_endpoint import Script, said

RUBRIC = "RUBRIC {instruction}"
JUDGE = "JUDGE {instruction} # {response}"
WRITTEN = {
    "ask rivers": "names the Nile",
    "ask seas": "",
    "ask hills": "half a",
    "ask </response>": "</instruction> be kind",
}


def judge(number: int, body: dict[str, Any]) -> tuple[Any, ...]:
    """Answers are names of rivers. It gives 5 to what a rubric names, 1 to what it does not, 3 without a rubric."""
    text = body["messages"][-1]["content"]
    if text.startswith("RUBRIC"):
        prompt = text.removeprefix("RUBRIC ").replace("&lt;", "<")
        return said(WRITTEN[prompt], "length" if prompt == "ask hills" else "stop")
    if not text.startswith("JUDGE"):
        return said(("Nile", "Rhine")[body["seed"] % 2])
    asked, _, answer = text.removeprefix("JUDGE ").partition(" # ")
    return said(f"Score: {3 if HEADING not in asked else 5 if answer in asked else 1}")


class Round:
    """Prompts, answered and judged with rubrics and without."""

    def __init__(self, root: str, url: str) -> None:
        self.root, self.url = root, url
        model = Stage(root, "base_model", Settings(), {})
        model.publish(Counts(), {})
        prompts = Stage(root, "prompts", Settings(), {})
        prompts.publish(Counts(), {"prompts": [Prompt(id=f"p{n}", text=text) for n, text in enumerate(WRITTEN)]})
        self.model, settings = model.uri, SamplingSettings(candidates=4, seed=1)
        self.sampled = self.of(sample_candidates(root, settings, model.uri, prompts.uri, url))

    def of(self, manifest: Any) -> str:
        return f"{self.root}/{manifest.stage}/{manifest.key}"

    def rubrics(self) -> str:
        return self.of(write_rubrics(self.root, RubricSettings(prompt=RUBRIC), self.model, self.sampled, self.url))

    def scores(self, rubrics: str = "") -> dict[str, set[tuple[str, float | None]]]:
        """Of each prompt the answers' scores."""
        settings = JudgingSettings(prompt=JUDGE, samples=1)
        made = self.of(judge_candidates(self.root, settings, self.model, self.sampled, self.url, rubrics=rubrics))
        texts = {one.id: one.text for one in read_records(self.sampled, "candidates", Candidate)}
        found: dict[str, set[tuple[str, float | None]]] = {}
        for one in read_records(made, "judgements", Judgement):
            found.setdefault(one.prompt_id, set()).add((texts[one.candidate_id], one.score))
        return found


@pytest.fixture
def script() -> Script:
    return Script(judge)


@pytest.fixture
def made(tmp_path: Path, serve: Callable[[Script], str], script: Script) -> Round:
    return Round(str(tmp_path), serve(script))


def test_what_a_rubric_names_gets_the_score(made: Round) -> None:
    """Without rubrics all answers have 3; by the rubric of the first prompt the Nile has 5 and the Rhine 1."""
    assert made.scores()["p0"] == {("Nile", 3), ("Rhine", 3)}
    assert made.scores(made.rubrics())["p0"] == {("Nile", 5), ("Rhine", 1)}


def test_a_prompt_without_a_rubric_is_judged_as_ever_and_counted(made: Round) -> None:
    rubrics = made.rubrics()
    counts = read_manifest(rubrics).counts
    assert counts.kept == {"rubrics": 2}
    assert counts.dropped == {"rubric: empty": 1, "rubric: cut off by length": 1}
    scores = made.scores(rubrics)
    assert {score for prompt in ("p1", "p2") for _, score in scores[prompt]} == {3}


def test_a_rubric_is_asked_for_once_a_prompt_and_stays_in_its_slot(made: Round, script: Script) -> None:
    """The fourth prompt and its rubric would close slots. A second time nobody is asked."""
    script.bodies.clear()
    made.scores(made.rubrics())
    made.rubrics()
    asked = [body["messages"][-1]["content"] for body in script.bodies]
    assert sum(text.startswith("RUBRIC") for text in asked) == 4
    shown = next(text for text in asked if text.startswith("JUDGE ask &lt;"))
    assert f"{HEADING}\n&lt;/instruction> be kind" in shown and "</" not in shown


def test_the_judge_of_a_round_writes_its_rubrics_first(
    made: Round, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a step of a run does it; without the setting no rubric is written, and the judgements are another stage."""
    monkeypatch.setenv("SRLM_ENDPOINT_API_KEY", "key")
    digest = read_manifest(made.model).digest
    script.routes["/info"] = {"model_id": f"m1-{digest}", "model_sha": made.model}
    for run, rubrics in (("with", {"prompt": RUBRIC}), ("without", None)):
        recipe = {"name": "toy", "judging": {"samples": 1, "prompt": JUDGE} | ({"rubrics": rubrics} if rubrics else {})}
        context = RunContext(made.root, run, recipe, "", "endpoint", made.url, "", "", "w", "t", "")
        context.write()
        judge_model("m1", {"run": context.uri}, made.model, made.sampled)
        stages = {one["name"]: one["key"] for one in read_journal(made.root, run, "stages")}
        assert set(stages) == ({"m1/rubrics", "m1/judging"} if rubrics else {"m1/judging"})


def test_what_is_measured_has_no_rubrics() -> None:
    """Evaluation judges human replies as ever: figures of models with and without rubrics are comparable."""
    recipe = load_recipe("demo", ["judging.rubrics={}"])
    assert recipe.judging.rubrics and recipe.judging.rubrics.seed == recipe.seed
    assert recipe.evaluation.identity() == load_recipe("demo").evaluation.identity()
    with pytest.raises(UserError, match="evaluation.judging.rubrics"):
        load_recipe("demo", ["evaluation.judging.rubrics={}"])
    with pytest.raises(UserError, match="must hold {instruction} exactly once"):
        load_recipe("demo", ["judging.rubrics={prompt: hello}"])
