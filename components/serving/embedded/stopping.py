"""When a text is finished, and what of it is returned."""

from __future__ import annotations

from components.serving.embedded.rows import FinishReason, Row
from components.serving.embedded.tokens import Tokens


def finish(row: Row, tokens: Tokens) -> tuple[str, FinishReason] | None:
    """The text and the reason if the row's last token finished it, otherwise None.

    The stop sequence stays in the text and what follows it is cut, as in TGI. Unlike TGI, an end-of-sequence token or a
    stop sequence that comes with the last allowed token counts as such and not as "length": the answer is whole.
    """
    if row.generated[-1] in tokens.end_ids:
        return tokens.decode(row.generated), "eos_token"
    if row.stop and _stop_in_tail(row, tokens):
        text = tokens.decode(row.generated)
        end = _end_of_first_stop(text, row.stop)
        if end is not None:
            return text[:end], "stop_sequence"
    if len(row.generated) >= row.max_new_tokens:
        return tokens.decode(row.generated), "length"
    return None


def _stop_in_tail(row: Row, tokens: Tokens) -> bool:
    # A character is at most 4 byte tokens, so this window holds any stop sequence that ends in the newest token,
    # and a long answer is not decoded as a whole at every step.
    window = 4 * max(map(len, row.stop)) + 8
    tail = tokens.decode(row.generated[-window:])
    return any(stop in tail for stop in row.stop)


def _end_of_first_stop(text: str, stops: list[str]) -> int | None:
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    return min(ends, default=None)
