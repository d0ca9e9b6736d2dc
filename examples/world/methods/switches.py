"""The methods that are held against the plain loop: what each changes in the recipe, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.world.judges import Judge
from examples.world.make import overrides
from pipelines.recipe import Recipe, load_recipe

CHECKED = "checked.jsonl"  # every other prompt of the rounds, with its answer


@dataclass(frozen=True)
class Method:
    """What a method changes in the recipe: `settings` are --set overrides, `{folder}` is the world's.

    `calls` are those of a round of P prompts with N candidates and K judgements each, in words; `paper` is empty for
    the trunk.
    """

    name: str
    meaning: str
    paper: str
    calls: str
    settings: tuple[str, ...] = ()

    def recipe(self, judge: Judge, folder: Path, seed: int, rounds: int, common: Sequence[str] = ()) -> Recipe:
        """For the world in `folder`; the settings `common` to all methods stand below its own."""
        own = (f"name={judge.name}-{self.name}-{seed}", f"seed={seed}", f"rounds={rounds}")
        settings = [one.replace("{folder}", str(folder)) for one in self.settings]
        return load_recipe(judge.recipe, [*overrides(folder), *common, *own, *settings])


SAME = "P N answers, P N K judgements"
PLAIN = Method("plain", "best mean score against worst", "", SAME)
TEMPORAL = Method(
    "temporal",
    "rejected is M1's worst answer",
    "[2508.06026](https://arxiv.org/abs/2508.06026)",
    "twice the plain loop's from round 2 on",
    ("pairs.rejected_from=first",),
)
CREAM = Method(
    "cream",
    "DPO smoothed by how far the rankings of Mt and M(t-1) differ",
    "[2410.12735](https://arxiv.org/abs/2410.12735)",
    "P N K judgements more from round 2 on",
    ("pairs.consistency=true",),
)
LENGTH = Method(
    "length-control",
    "shortest of the best, longest of the worst (rho 0.4)",
    "[2407.19594](https://arxiv.org/abs/2407.19594)",
    SAME,
    ("pairs.length_control=[0.4]",),
)
METHODS = (
    PLAIN,
    Method("one-judgement", "K = 1", "", "P N answers, P N judgements", ("judging.samples=1",)),
    Method(
        "majority",
        "the score that most of K = 8 judgements give",
        "[2203.11171](https://arxiv.org/abs/2203.11171)",
        "P N answers, 8 P N judgements",
        ("judging.samples=8", "pairs.score=majority"),
    ),
    LENGTH,
    Method(
        "checked",
        "every other prompt is scored by its known answer",
        "[2411.15124](https://arxiv.org/abs/2411.15124)",
        SAME,
        (f"pairs.exact_answers={{questions: '{{folder}}/{CHECKED}'}}",),
    ),
    TEMPORAL,
    CREAM,
    Method(
        "scir",
        "pairs on which Mt's implicit reward against M(t-1) agrees with the judge",
        "[2502.08922](https://arxiv.org/abs/2502.08922)",
        SAME,
        ("dpo.self_consistency=true",),
    ),
    Method(
        "spin",
        "in round 1 chosen is the human answer",
        "[2401.01335](https://arxiv.org/abs/2401.01335)",
        "an answer to each IFT prompt more in round 1",
        ("pairs.human_rounds=1",),
    ),
    Method(
        "nll",
        "DPO and the NLL of chosen answers",
        "[2404.19733](https://arxiv.org/abs/2404.19733)",
        SAME,
        ("dpo.nll_weight=1.0",),
    ),
    Method(
        "smoothing",
        "conservative DPO, a fifth of the pairs taken to be wrong",
        "[cDPO](https://ericmitchell.ai/cdpo.pdf)",
        SAME,
        ("dpo.label_smoothing=0.2",),
    ),
    Method(
        "robust",
        "robust DPO, at the same rate",
        "[2403.00409](https://arxiv.org/abs/2403.00409)",
        SAME,
        ("dpo.label_smoothing=0.2", "dpo.loss=robust"),
    ),
    Method(
        "small-rounds",
        "semi-online: twice the rounds, half the prompts and steps in each",
        "[2506.21495](https://arxiv.org/abs/2506.21495)",
        "half the plain loop's, in twice as many rounds",
        ("rounds=6", "prompts.count=75", "dpo.max_steps=15"),
    ),
)
# In no table of results: docs/methods.md says why.
UNTRIED = (
    Method(
        "comparisons",
        "answers compared two by two, in both orders; best and worst by wins less losses",
        "[2306.05685](https://arxiv.org/abs/2306.05685)",
        "P N (N - 1) comparisons more",
        ("pairs.comparisons={}",),
    ),
    Method(
        "meta-judge",
        "pairs of judgements, too, as the model itself compares them",
        "[2407.19594](https://arxiv.org/abs/2407.19594)",
        "P K (K - 1) comparisons of judgements more in rounds 1 and 2",
        ("pairs.meta_judge={}",),
    ),
    Method(
        "rubrics",
        "the judge writes criteria for each prompt, and judges by them",
        "[2507.18624](https://arxiv.org/abs/2507.18624)",
        "P rubrics more",
        ("judging.rubrics={}",),
    ),
)
