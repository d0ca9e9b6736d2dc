"""Nothing that a model is measured with may be trained on: texts that come too close to an evaluation text are dropped.

AlpacaEval, for one, contains prompts of OpenAssistant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.core.records import EvaluationText, Observation, SeedPrompt
from components.core.stage import read_records
from components.core.texts import TextPool, normalised

TOO_CLOSE = "too close to "  # reasons in a stage's counts end on this and the name of the evaluation set
HELD_OUT = "held-out prompts"
NOVELTY = "novelty"


class EvaluationTexts:
    """The texts of all evaluation sets; one is too close where it is the same, or its ROUGE-L F is above `novelty`.

    No F is above 1: then only sameness counts, but for case, spaces and compatibility forms.
    """

    def __init__(self, novelty: float = 1.0) -> None:
        self._pool = TextPool(above=novelty)
        self._sets: dict[str, str] = {}  # the set of each text, by its normalised form

    def add(self, name: str, text: str) -> None:
        self._sets.setdefault(normalised(text), name)
        self._pool.add(text)

    def too_close(self, text: str, history: Sequence[Mapping[str, str]] = ()) -> str | None:
        """The evaluation set that holds a text too close to this one, or to a user's turn before it; None where none
        does.
        """
        turns = [message["content"] for message in history if message["role"] == "user"]
        return next(filter(None, map(self._too_close, [*turns, text])), None)

    def _too_close(self, text: str) -> str | None:
        if found := self._sets.get(normalised(text)):
            return found
        closest = self._pool.closest(text)
        return self._sets[normalised(closest[0])] if closest else None


def read_evaluation_texts(uri: str, seed_data: str = "") -> EvaluationTexts:
    """Those of the stage at `uri` ("" for none), and the prompts that `seed_data` holds out."""
    limits = read_records(uri, "limits", Observation) if uri else []
    novelty = next((limit.values[0] for limit in limits if limit.metric == NOVELTY), None)
    texts = EvaluationTexts() if novelty is None else EvaluationTexts(novelty)
    for record in read_records(uri, "texts", EvaluationText) if uri else []:
        texts.add(record.set, record.text)
    for prompt in read_records(seed_data, "eval", SeedPrompt) if seed_data else []:
        texts.add(HELD_OUT, prompt.text)
    return texts
