"""A served model that scores given texts: the harness's own client of /v1/completions, without its silent cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval.models.openai_completions import LocalCompletionsAPI

from components.core.ledger import spent

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from components.evaluation.lm_eval.chat_model import Questions


class CompletionsModel(LocalCompletionsAPI):  # type: ignore[misc]
    """Notes the questions that do not fit into `max_length` tokens with their answers.

    The harness cuts their beginning off, demonstrations and all, and counts the answer: that is another question.
    """

    too_long: Questions
    unanswered: Questions

    def __init__(self, key: str = "", **settings: Any) -> None:
        self._key = key
        super().__init__(**settings)
        self.too_long, self.unanswered = {}, {}

    @property
    def api_key(self) -> str:
        """The endpoint's own: the harness would send OPENAI_API_KEY to whatever endpoint this is."""
        return self._key or "none"

    @spent("engine")
    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self._note(requests, lambda text, continuation: (text + continuation, 0))
        scored: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        return scored

    @spent("engine")
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        self._note(requests, lambda text, how: (text, int(how.get("max_gen_toks", self._max_gen_toks))))
        answers: list[str] = super().generate_until(requests, disable_tqdm)
        return answers

    def _note(self, requests: list[Instance], measure: Any) -> None:
        """`measure` gives the text that a request holds, and how many new tokens it asks for."""
        for instance in requests:
            text, new = measure(*instance.args)
            if len(self.tok_encode(text)) + new > self.max_length:
                self.too_long.setdefault(str(instance.task_name), set()).add(int(instance.doc_id or 0))
