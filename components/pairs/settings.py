from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from components.core.settings import Settings
from components.evaluation.alpaca_eval.head_to_head import TEMPLATE
from components.evaluation.exact_answers.settings import AnswerPattern, QuestionsSettings
from components.judging.prompt import with_slots
from components.serving.settings import Generation

Rho = Annotated[float, Field(ge=0, le=0.5)]
SLOTS = ("instruction", "first", "second")
META_JUDGE = Path(__file__).with_name("meta_judge_prompt.txt").read_text()


ComparingPrompt = Annotated[str, AfterValidator(partial(with_slots, slots=SLOTS))]


class ComparingSettings(Generation):
    """How the judge is asked which of two texts is the better one: by default greedily."""

    temperature: float = Field(0.0, ge=0, description="of a verdict; 0 is greedy")
    max_tokens: int = Field(256, ge=1, description="of a verdict with its reasons")
    prompt: ComparingPrompt = Field(
        TEMPLATE, description="with {instruction}, {first} and {second}; its answer ends on Verdict: A, B or tie"
    )


class MetaJudgeSettings(ComparingSettings):
    """Judgements as pairs to learn from: the model compares its own judgements of an answer (Wu et al. 2024).

    In the prompt {instruction} is what the judge was asked.
    """

    # of_round has looked at it.
    non_key_fields: ClassVar[frozenset[str]] = Generation.non_key_fields | {"rounds"}

    prompt: ComparingPrompt = META_JUDGE
    rounds: int = Field(2, ge=1, description="in so many rounds at the start; the paper: 2")
    share: float = Field(0.15, gt=0, lt=1, description="of a round's pairs, at most so many are of judgements")
    max_characters: int = Field(1500, ge=1, description="a chosen judgement that is longer makes no pair")

    def asking(self) -> ComparingSettings:
        """The part that decides what is asked."""
        return ComparingSettings(**{name: getattr(self, name) for name in ComparingSettings.model_fields})


class CheckedAnswersSettings(QuestionsSettings):
    """Prompts whose answers can be checked: their candidates are scored by that, and not by the judge."""

    pattern: AnswerPattern = Field(
        "", description="where a candidate's answer stands, as evaluation.exact_answers.pattern says it"
    )


class PairsSettings(Settings):
    """How judged candidates become preference pairs (Yuan et al. 2024, section 2.3); docs/methods.md has the others.

    What is no part of the paper's loop is no part of its keys either, as long as it is not switched on.
    """

    length_control: tuple[Rho, ...] = Field(
        (0.0,), min_length=1, description="rho of each round, the last one for all later; 0 is the paper"
    )
    min_gap: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="least difference of chosen and rejected score; 0 is the paper"
    )
    min_pairs: int = Field(1, ge=1, description="fewer pairs than this stop the run")
    shuffle_scores: bool = Field(
        False, description="control experiment: scores are dealt out at random among all candidates of the round"
    )
    seed: int = Field(0, description="of shuffle_scores, and of the choice among equal scores")
    score: Literal["mean", "majority"] = Field(
        "mean",
        exclude_if=lambda score: score == "mean",
        description="of K judgements: their mean (the paper), or the score that most of them give",
    )
    exact_answers: CheckedAnswersSettings | None = Field(
        None,
        exclude_if=lambda checked: checked is None,
        description="prompts with known answers: right ones get the highest score, wrong ones the lowest; null: none",
    )
    rejected_from: Literal["policy", "first"] = Field(
        "policy",
        exclude_if=lambda model: model == "policy",
        description="whose worst answer is rejected: Mt's own (the paper), or M1's to the same prompt (temporal pairs)",
    )
    consistency: bool = Field(
        False,
        exclude_if=lambda on: not on,
        description="M(t-1) judges the candidates, too; DPO is smoothed by how much the two rankings differ (CREAM)",
    )
    human_rounds: int = Field(
        0,
        ge=0,
        exclude_if=lambda rounds: not rounds,
        description="in so many rounds at the start chosen is the human answer to an IFT prompt, rejected Mt's (SPIN)",
    )

    comparisons: ComparingSettings | None = Field(
        None,
        exclude_if=lambda comparing: comparing is None,
        description="the judge compares a prompt's answers two by two, in both orders, and wins less losses are their "
        "scores; null: scores are those of judging (the paper)",
    )
    meta_judge: MetaJudgeSettings | None = Field(
        None,
        exclude_if=lambda meta_judge: meta_judge is None,
        description="pairs of judgements, too, as the model itself compares them; null: of answers alone (the paper)",
    )

    def of_round(self, number: int) -> PairsSettings:
        """The settings of one round (counted from 1): what concerns other rounds is at its default.

        M1 has no model before it that judges, and is itself the first that answers.
        """
        rho = self.length_control[min(number, len(self.length_control)) - 1]
        if number <= self.human_rounds:  # no candidate of the round is paired
            return PairsSettings(min_pairs=self.min_pairs, seed=self.seed, human_rounds=1)
        changes: dict[str, object] = {"length_control": (rho,), "human_rounds": 0}
        if number == 1:
            changes |= {"rejected_from": "policy", "consistency": False}
        if self.meta_judge and number > self.meta_judge.rounds:
            changes["meta_judge"] = None
        return self.model_copy(update=changes)

    @property
    def asks_models(self) -> bool:
        """Whether pairs ask for more than a round's candidates and judgements."""
        compared = self.comparisons is not None or self.meta_judge is not None
        return bool(self.human_rounds) or self.consistency or self.rejected_from == "first" or compared
