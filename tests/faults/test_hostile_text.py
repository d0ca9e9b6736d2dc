"""Texts that attackers write, drawn from what breaks readers: a thousand in `make test`, a million in `make
test-faults` (SRLM_FAULTS_TEXTS)."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from components.core.course import Course
from components.core.errors import UserError
from components.core.page import Table, write_page
from components.core.progress import read_event, visible
from components.core.records import Candidate
from components.core.stage import _json_lines
from components.evaluation.alpaca_eval.verdicts import parse_verdict
from components.evaluation.mt_bench.rating import parse_rating
from components.judging.parser import ScoreFormat, parse_score
from components.judging.prompt import built_in_judge_prompt, without_control_tokens
from components.kubernetes.objects import labels, object_name
from components.prompts.cleaning import clean
from components.serving.meaning import Kind, meaning_of
from pipelines.recipe import load_recipe
from pipelines.runs import check_run_name
from pipelines.watch.screen import Screen

TEXTS = int(os.environ.get("SRLM_FAULTS_TEXTS", "1000"))
SLOWEST_S = 0.5  # of one text; on a busy machine
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
    *(
        "<script>alert(1)</script>",
        "<img src=x onerror=y>",
        "&#x3c;",
        "--><svg/onload=z>",
        "]]>",
        "../..",
        "/etc/passwd",
    ),
    *("; rm -rf /", "$(id)", "a" * 300, " " * 300, "1" * 40, ":" * 50, "!!python/object/apply:os.system", "*a", "&a "),
)


def texts(seed: str, count: int) -> Iterator[str]:
    draws = random.Random(seed)
    for _ in range(max(1, count)):
        yield "".join(draws.choices(PIECES, k=draws.randint(1, 12)))


def watched(
    note: Note, what: str, share: float, holds: Callable[[str], object], refuses: type[Exception] | tuple[()] = ()
) -> None:
    """`holds` of each text, or a refusal; the row of the table, and the slowest text."""
    survived, refused, slowest = 0, 0, 0.0
    wrong = []
    for text in texts(what, int(TEXTS * share)):
        start = time.process_time()
        try:
            fine = holds(text)
            survived += bool(fine)
            if not fine:
                wrong.append(text)
        except refuses:
            refused += 1
        slowest = max(slowest, time.process_time() - start)
    note(f"hostile text: {what}", survived=survived, refused=refused, lost=len(wrong), silence=slowest)
    assert not wrong, wrong[0]
    assert slowest < SLOWEST_S


OWN = ScoreFormat(r"\[\[(?P<score>\d+)\]\]", 1, 10)


def reads_scores(text: str) -> bool:
    """A number of the scale, or none with a reason."""
    scores = [(parse_score(text), 0, 5), (parse_score(text, score_format=OWN), 1, 10), (parse_rating(text), 1, 10)]
    known = all(low <= one.value <= high if one.value is not None else bool(one.unparsed) for one, low, high in scores)
    return known and (parse_verdict(text) is None or parse_score(text, True) is not None)


def test_scores_and_verdicts(note: Note) -> None:
    watched(note, "scores, ratings, verdicts", 0.25, reads_scores)


def test_written_prompts(note: Note) -> None:
    watched(note, "prompts that a model has written", 0.1, lambda text: (clean(text) or "x").strip())


PROMPT, FORGED = built_in_judge_prompt(), re.compile("|".join(map(re.escape, CONTROLS)), re.IGNORECASE)
TAGS = ("<instruction>", "</instruction>", "<response>", "</response>")


def keeps_its_slot(text: str) -> bool:
    filled = PROMPT.fill(text, text)
    return all(filled.count(tag) == 1 for tag in TAGS) and not FORGED.search(filled)


def test_the_judge_prompt_and_its_delimiters(note: Note) -> None:
    """One slot each, and no token of any template."""
    watched(note, "judge prompt, delimiters, control tokens", 0.2, keeps_its_slot)


@pytest.mark.parametrize("token", CONTROLS)
def test_no_control_token_of_a_chat_template_is_left(token: str) -> None:
    assert token not in without_control_tokens(f"a{token}b{token.upper()}")


def survives_the_store(text: str) -> bool:
    one = Candidate(id=text, prompt_id="p", prompt=text, text=text, finish_reason="stop", seed=1, tokens=1)
    data = _json_lines([one, one])
    lines = data.splitlines()
    return len(lines) == 2 and all(Candidate.model_validate_json(line) == one for line in lines)


def test_records(note: Note) -> None:
    watched(note, "records in a store", 0.1, survives_the_store)


def is_harmless(text: str) -> bool:
    """One line that the terminal shows; nothing that it obeys, and no markup of ours."""
    shown, written = visible(text), StringIO()
    screen = Screen(Console(file=written, width=10_000, force_terminal=False), "run", ())
    screen.update([Course("step", 0.0, 0.0, said=text)])
    event = json.dumps({"kind": "say", "time": 0.0, "text": text}) + "\n"
    whole = [one["text"] for one in read_event(event)] == [text] and event.count("\n") == 1
    controls = set(map(chr, [*range(32), *range(127, 160)])) - {"\n", "\t"}
    told = "".join(written.getvalue().split()).replace("\\", "")  # tabs are shown as spaces, rich takes a backslash
    return whole and not controls & set(written.getvalue()) and "".join(shown.split()).replace("\\", "") in told


def test_terminal_and_events(note: Note) -> None:
    watched(note, "terminal lines and events", 0.02, is_harmless)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


def test_pages(note: Note, tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    def is_text(text: str) -> bool:
        write_page(str(page), text, Table(text, (text,), [(text,)], text), [text])
        tags = Tags()
        tags.feed(page.read_text())
        ours = {"html", "head", "meta", "title", "style", "body", "h3", "div", "table", "caption", "thead", "tbody"}
        return tags.seen <= ours | {"tr", "th", "td", "p", "ul", "li", "wbr"}

    watched(note, "pages", 0.02, is_text)


NAME, LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?"), re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def names_objects(text: str) -> bool:
    """Of a run whose name is taken."""
    run = re.sub(r"[^a-z0-9.-]", "", text.lower())
    check_run_name(run)
    name = object_name(run, "server", 40)
    values = labels("server", run).values()
    return bool(NAME.fullmatch(name)) and len(name) <= 63 and all(LABEL.fullmatch(v) and len(v) < 64 for v in values)


def test_names_and_labels_of_kubernetes(note: Note) -> None:
    watched(note, "names and labels of Kubernetes", 0.1, names_objects, UserError)


def test_names_of_runs(note: Note) -> None:
    def is_one_folder(text: str) -> bool:
        check_run_name(text)
        return bool(LABEL.fullmatch(text)) and text not in ("", ".", "..")

    watched(note, "names of runs", 0.298, is_one_folder, UserError)


def test_what_servers_answer(note: Note) -> None:
    """Any text with any status means something."""

    def means_something(text: str) -> bool:
        kinds = {meaning_of(status, {"retry-after": text}, text).kind for status in (200, 307, 400, 429, 503)}
        message = json.dumps({"error": {"message": text, "code": text}, "choices": [text]})
        return Kind.ANSWER not in kinds and "\n" not in meaning_of(400, {}, message, ["max_tokens"]).problem

    watched(note, "what servers answer", 0.01, means_something)


def test_recipes(note: Note, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"

    def is_recipe(text: str) -> bool:
        path.write_text(f"extends: demo\nname: {text}", errors="replace")
        return bool(load_recipe(str(path)))

    watched(note, "recipes", 0.002, is_recipe, UserError)
