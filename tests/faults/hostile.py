"""Texts that attackers write, drawn by a seed from what breaks readers: a thousand in `make test`, a million in `make
test-faults` (SRLM_FAULTS_TEXTS)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from html.parser import HTMLParser

TEXTS = int(os.environ.get("SRLM_FAULTS_TEXTS", "1000"))
SLOWEST_S = 0.5  # of one text; it is read again where it took longer, as what else the process did is in its time
Note = Callable[..., None]
# How the turns of a chat begin and end: ChatML, Llama 2, 3 and 4, Mistral, Gemma, Phi, DeepSeek, Command R, EXAONE,
# GLM, Granite, gpt-oss, Baichuan.
CONTROLS = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>", "<|header_start|>", "[SYSTEM_PROMPT]", "[TOOL_CALLS]"),
    *("[AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<unk>"),
    *("<|user|>", "<|assistant|>", "<|end|>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>"),
    *("<｜end▁of▁sentence｜>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "[|user|]", "[|endofturn|]"),
    *("[gMASK]", "<sop>", "<|start_of_role|>", "<|channel|>", "<reserved_106>", "<reserved_107>"),
)
PIECES = (
    *CONTROLS,
    *("</response>", "< / Response >", "<instruction>", "</instruction", "{response}", "{instruction}", "{", "}", "%s"),
    *("Score: 5", "score", "Score:", " 4/5", "**", "3 - 4", "out of 5", "-", "1e9", "٣", "５", "Ⅳ", "NaN", "Infinity"),
    *("Verdict: A", "[[B]]", "[[10]]", "Rating: [[7]]", "tie", '{"score": 5}', '{"score": {"score": [', "<think>"),
    *("</think>", "\x1b[2J", "\x1b]0;x\x07", "\x9b31m", "\r", "\n", "\n\n", "\t", "\0", "\x7f", "\u2028", "\u2029"),
    *("\u202e", "\u200b", "\ufeff", "\ufffd", "é", "漢", "😀", "[bold red]", "[/]", "\\[", "\\", '"', "'", "`", "&lt;"),
    *("<script>alert(1)</script>", "<img src=x onerror=y>", "&#x3c;", "--><svg/onload=z>", "]]>", "../.."),
    *("/etc/passwd", "{{ 7 * 7 }}", "{% for x in y %}", "training-point: {", "training-problem: [1]", "a: 1/2, done"),
    *(
        'training-point: {"step": [], "values": 1}',
        'training-problem: {"problem": 1}',
        "; rm -rf /",
        "$(id)",
        "a" * 300,
    ),
    *(" " * 300, "1" * 40, ":" * 50, "!!python/object/apply:os.system", "*a", "&a "),
)


def texts(seed: str, count: int) -> Iterator[str]:
    draws = random.Random(seed)
    for _ in range(max(1, count)):
        yield "".join(draws.choices(PIECES, k=draws.randint(1, 12)))


def watched(
    note: Note, what: str, share: float, holds: Callable[[str], object], refuses: type[Exception] | tuple[()] = ()
) -> None:
    """`holds` of each text, or a refusal; the row of the table, and the slowest text."""
    survived, refused = 0, 0
    wrong, slow = [], []
    for text in texts(what, int(TEXTS * share)):
        start = time.process_time()
        try:
            fine = holds(text)
            survived += bool(fine)
            if not fine:
                wrong.append(text)
        except refuses:
            refused += 1
        if time.process_time() - start > SLOWEST_S:
            slow.append(text)
    note(f"hostile text: {what}", survived=survived, refused=refused, lost=len(wrong))
    assert not wrong, smallest(min(wrong, key=len), lambda text: not holds(text))
    assert not [text for text in slow if min(_seconds(holds, text, refuses) for _ in range(3)) > SLOWEST_S]


def _seconds(holds: Callable[[str], object], text: str, refuses: type[Exception] | tuple[()]) -> float:
    start = time.process_time()
    with suppress(*(refuses if isinstance(refuses, tuple) else (refuses,))):
        holds(text)
    return time.process_time() - start


def smallest(text: str, wrong: Callable[[str], bool]) -> str:
    """What is left of a text that is wrong when all is cut out that may be, by halves first and by characters last."""
    size = len(text) // 2
    while size:
        place = 0
        while place < len(text):
            shorter = text[:place] + text[place + size :]
            if wrong(shorter):
                text = shorter
            else:
                place += size
        size //= 2
    return text


class Tags(HTMLParser):
    """The tags, and the attributes that could act, of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(name for name, _ in attrs if name.startswith("on"))}


def tags_of(page: str) -> set[str]:
    tags = Tags()
    tags.feed(page)
    return tags.seen
