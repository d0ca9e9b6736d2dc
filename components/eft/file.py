"""Judgements from a file, such as those that a larger model has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.core.data_files import read_json_lines
from components.core.errors import UserError
from components.core.hashing import short_id
from components.core.wrong_values import first_mistake
from components.eft.targets import Target
from components.judging.parser import BUILT_IN_FORMAT, ScoreFormat, parse_score
from components.seed_data.contamination import TOO_CLOSE, EvaluationTexts

FilledText = Annotated[str, Field(min_length=1)]


class WrittenJudgement(BaseModel):
    """A line of the file; other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    instruction: FilledText
    response: FilledText
    judgement: FilledText


def read_judgements(path: Path, name: str) -> list[WrittenJudgement]:
    """Every line of the file; UserError names the line that is wrong."""
    judgements = []
    for number, line in read_json_lines(path, name):
        try:
            judgements.append(WrittenJudgement.model_validate(line))
        except ValidationError as error:
            raise UserError(
                f"{name}, line {number}: {first_mistake(error)}",
                "Give one object a line with the texts instruction, response and judgement.",
            ) from error
    return judgements


def targets_from_file(
    judgements: Iterable[WrittenJudgement], evaluation: EvaluationTexts, score_format: ScoreFormat = BUILT_IN_FORMAT
) -> tuple[list[Target], Counter[str]]:
    """Targets, and what was dropped by reason. `evaluation` are the texts that models will be measured on."""
    targets: dict[str, Target] = {}
    dropped: Counter[str] = Counter()
    for written in judgements:
        id = short_id(written.instruction, written.response)
        score = parse_score(written.judgement, score_format=score_format)
        if name := evaluation.too_close(written.instruction):
            dropped[f"example: {TOO_CLOSE}{name}"] += 1
        elif score.value is None:
            dropped[f"example: judgement unparsed: {score.unparsed}"] += 1
        elif id in targets:
            dropped["example: same instruction and response"] += 1
        else:
            targets[id] = Target(id, written.instruction, written.response, written.judgement.strip(), score.value)
    return list(targets.values()), dropped
