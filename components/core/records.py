"""The typed records that stages write and read, one JSON object a line."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from components.core.spent import Spent

Messages = list[dict[str, str]]


class Record(BaseModel):
    """A line of a stage's output. `id` is unique within its kind and says what the record answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str


class Turn(Record):
    """What a user says to a model, with what may follow. The text stands in a field of the record's own.

    `history` is the conversation before it. A first turn without a system message has none, and no such field in its
    line.
    """

    history: Messages = Field(
        [],
        exclude_if=lambda messages: not messages,
        description="role and content of each message, oldest first: system, user, assistant",
    )


def conversation(history: Messages, text: str) -> Messages:
    """What a model is asked with: the user's text after what came before it."""
    return [*history, {"role": "user", "content": text}]


class Reply(BaseModel):
    """A human reply with its human rank: 0 is the best, None is "not ranked" (never 0)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    text: str
    rank: int | None = None


class SeedPrompt(Turn):
    """A prompt of the seed data with its human replies, best first where they are ranked."""

    text: str
    replies: list[Reply]


class Example(Turn):
    """One supervised example: the loss falls on `completion` alone (IFT answers, EFT judgements)."""

    kind: Literal["ift", "eft"]
    prompt: str
    completion: str


class ChatProblem(Record):
    """Why training on a model's chat template would not make the model that is served."""

    problem: str


class Prompt(Turn):
    """A new prompt of a round."""

    text: str


class PromptAttempt(Record):
    """What the prompt writer answered to one few-shot request, before the filters."""

    text: str
    finish_reason: str
    tokens: int


class Candidate(Turn):
    """One sampled answer. `finish_reason` "length" means cut off: such a text never becomes part of a pair."""

    prompt_id: str
    prompt: str
    text: str
    finish_reason: str
    seed: int
    tokens: int
    reasoning: str = Field(
        "", exclude_if=lambda text: not text, description="its thought, with sampling.reasoning: keep"
    )


class Judgement(Record):
    """One judgement of one text. `score` is None where the completion held no valid score; `unparsed` says why."""

    prompt_id: str
    candidate_id: str
    completion: str
    finish_reason: str
    score: float | None
    unparsed: str | None = None
    judge_prompt: str = Field(description="SHA-256 of the judge prompt's template")
    seed: int
    tokens: int


class PairwiseJudgement(Record):
    """Two texts compared in one order; `first` and `second` are their ids. `verdict` says which of them is the better.

    It is None where the completion held none; `unparsed` says why.
    """

    first: str
    second: str
    completion: str
    finish_reason: str
    verdict: Literal["first", "second", "tie"] | None
    unparsed: str | None = None
    seed: int
    tokens: int


class Rubric(Record):
    """What a good response to a prompt does, as the judge wrote it; `id` is the prompt's."""

    text: str
    finish_reason: str
    seed: int
    tokens: int


class Pair(Turn):
    """A preference pair, one a prompt. `id` is the prompt's; of two judgements (Meta-Rewarding) the judged answer's.

    `*_votes` are the parsed judgements that a score is made of, at most judging.samples; 0 where the answer was
    checked. Of compared answers scores are wins less losses, votes comparisons. Both are None where nobody scored the
    pair: a human answer (SPIN), a judgement.
    """

    prompt: str
    chosen: str
    rejected: str
    chosen_id: str
    rejected_id: str
    chosen_score: float | None
    rejected_score: float | None
    chosen_votes: int | None = None
    rejected_votes: int | None = None
    chosen_reasoning: str = Field("", exclude_if=lambda text: not text, description="the candidate's thought")
    rejected_reasoning: str = Field("", exclude_if=lambda text: not text)
    doubt: float | None = Field(
        None, exclude_if=lambda doubt: doubt is None, description="weight of the reversed order in DPO's loss (CREAM)"
    )


class Instruction(Record):
    """An instruction of AlpacaEval's set with the reference output; `id` is its place in the set, from 0."""

    text: str
    dataset: str
    reference: str
    generator: str = Field(description="what wrote the reference")
    difficulty: float | None = Field(None, description="AlpacaEval's estimate, where it is known")
    gamed: list[tuple[float, float]] = Field(
        [], description="AlpacaEval's brief and verbose baselines on it: preference, standardised length"
    )


class Annotation(Record):
    """The annotator's preference between a model's output and the reference; `id` is the instruction's.

    `preference` is the probability that the model's output is better, None where there was no valid answer;
    `switched` says that the model's output stood first.
    """

    preference: float | None
    unparsed: str | None = None
    form: Literal["weighted", "plain", "equal outputs", "no output"]
    switched: bool
    completion: str
    logprobs: dict[str, float] | None = Field(None, description="of the two identifiers, natural logarithm")
    seed: int
    tokens: int


class Comparison(Record):
    """One head-to-head question in one order. `verdict` names the winner; None: `unparsed` says why there is none."""

    prompt_id: str
    first: Literal["model", "opponent"]
    completion: str
    verdict: Literal["model", "opponent", "tie"] | None
    unparsed: str | None = None
    tokens: int


class Observation(Record):
    """What one item (a prompt, an instruction) adds to one metric; see components/metrics. None is an unknown value."""

    metric: str
    item: str
    values: list[FiniteFloat | None]


class Check(Record):
    """One rule of the gate on one model. `outcome` is unknown where too little was measured to prove anything."""

    rule: Literal["floor", "ceiling", "regression", "growth", "improvement", "baseline", "demand"]
    metric: str
    outcome: Literal["pass", "fail", "unknown"]
    value: float | None
    low: float | None
    high: float | None
    items: int
    reason: str


class Decision(Record):
    """The gate's verdict on a model; `id` is the model's digest.

    `champion` is the digest of the champion that it was compared with: "" where there was none, None where the registry
    did not answer.
    """

    decision: Literal["promote", "hold", "stop"]
    reasons: list[str]
    champion: str | None


class TrainingNoise(Record):
    """One figure beside its spread between trainings with other seeds; `id` is the metric. What is unknown is None.

    `value`, `low`, `high` and `items` are the model's over prompts, `trainings` the values of the model and of those
    trained again, in the order of their seeds. `change` is the model's value less that of the model to compare with,
    on the items of both, with its interval over prompts and the one in which another seed's change would lie.
    """

    value: float | None
    low: float | None
    high: float | None
    items: int
    trainings: list[FiniteFloat | None]
    mean: float | None
    deviation: float | None = Field(description="standard deviation of the trainings, by n - 1")
    change: float | None
    change_low: float | None
    change_high: float | None
    seeds_low: float | None
    seeds_high: float | None
    beyond_noise: bool | None = Field(description="neither interval of the change holds 0")


class CheckpointComparison(Record):
    """A checkpoint of DPO against the one before; `id` is the step.

    By answers, validation prompts are counted: won, lost or tied by mean score, unscored where a score is missing on
    either side. By pairs, held-out pairs are: won where their loss is lower; `loss` and `loss_before` are the means.
    """

    step: int
    against: int = Field(description="step of the checkpoint before; 0 is the untrained policy")
    wins: int
    ties: int
    losses: int
    unscored: int
    loss: float | None = Field(None, description="DPO's mean loss on the held-out pairs, in nats; None by answers")
    loss_before: float | None = Field(None, description="the same at the checkpoint before")


class Question(Record):
    """A question with its reference answer, as it is compared; `id` is a hash of the text."""

    text: str
    answer: str


class EvaluationText(Record):
    """A text that models are measured with, which nothing that they are trained on may repeat."""

    set: str = Field(description="which evaluation it belongs to, as the report names it")
    text: str


class Label(Record):
    """What a person said of one item of a review: a choice between two answers, or a score; `id` is item and person."""

    item: str
    labeller: str
    choice: Literal["first", "second", "tie"] | None = None
    score: FiniteFloat | None = None


class ReferenceLogProbs(Record):
    """Log-probabilities (nats) of a pair's answers under DPO's reference, summed over tokens; `id` is the pair's."""

    chosen: FiniteFloat
    rejected: FiniteFloat


class CurvePoint(Record):
    """What the trainer logged at one step; `id` is the step."""

    step: int
    values: dict[str, FiniteFloat]


class Counts(BaseModel):
    """How much a stage kept, and what it dropped with the reasons. Nothing is dropped without a line here."""

    model_config = ConfigDict(extra="forbid")

    kept: dict[str, int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)


class Parent(BaseModel):
    """An input of a stage."""

    model_config = ConfigDict(extra="forbid")

    uri: str
    digest: str


class File(BaseModel):
    """A published file; `records` is its number of lines where it holds records."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    bytes: int
    records: int | None = None

    @property
    def megabytes(self) -> int:
        """The unit of progress bars: whole megabytes, at least one."""
        return max(1, self.bytes // 1_000_000)


class Manifest(BaseModel):
    """Written last: where it exists, the stage is whole. It is also the lineage.

    `spent` is what the attempt that made it took until then, and `earlier` what attempts that did not get as far had
    noted by the way: at least that. None: not known.
    """

    model_config = ConfigDict(extra="forbid")

    stage: str
    version: int
    key: str
    digest: str
    settings: dict[str, Any]
    parents: dict[str, Parent]
    files: dict[str, File]
    counts: Counts
    metrics: dict[str, FiniteFloat] = Field(default_factory=dict)
    tokens: int = 0
    seconds: float
    spent: Spent | None = None
    earlier: Spent | None = None
    code: str
    created: str

    @field_validator("files")
    @classmethod
    def _inside_the_stage(cls, files: dict[str, File]) -> dict[str, File]:
        """Whoever can write to a store could else have files of this machine replaced where models are fetched."""
        for name in files:
            if name.startswith("/") or "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
                raise ValueError(f"{name!r} is no place inside the stage")
        return files

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.bytes for file in self.files.values())
