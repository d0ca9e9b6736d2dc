"""A prompt with a conversation before it, from its file to the pairs that DPO is trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.records import Candidate, Counts, Example, Messages, Pair, Prompt
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.judging.judging import judge_candidates
from components.judging.settings import JudgingSettings
from components.pairs.pairs import make_pairs
from components.pairs.settings import PairsSettings
from components.prompts.file import take_prompts
from components.prompts.settings import PromptsSettings
from components.sampling.sampling import sample_candidates
from components.sampling.settings import SamplingSettings
from components.training.dpo.dpo import preference_row, usable_pairs
from components.training.sft.settings import SftSettings
from components.training.sft.sft import training_rows
from tests.helpers.scripted_endpoint import Script, said
from tests.helpers.tiny_model import CHAT_TEMPLATE, make_tiny_tokenizer

Serve = Callable[[Script], str]
ASKED: Messages = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Po."},
    {"role": "user", "content": "Another one?"},
]
SHOWN = "System: Be brief.\n\nUser: Name a river.\n\nAssistant: The Po.\n\nUser: Another one?"


def prompt_file(folder: Path, *lines: dict[str, Any]) -> PromptsSettings:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return PromptsSettings(source="file", file=str(path), count=len(lines))


def of(root: Path, made: Any) -> str:
    return str(root / made.stage / made.key)


def test_the_whole_conversation_is_asked_judged_and_trained_on(tmp_path: Path, serve: Serve) -> None:
    """Two candidates; the judge prefers the one that names a river."""

    def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = body["messages"][-1]["content"]
        if asked.startswith("Judge how well"):
            return said("Score: 5" if "The Rhine." in asked else "Score: 1")
        return said("The Rhine." if number == 1 else "No.")

    script = Script(answer)
    url, root = serve(script), str(tmp_path)
    writer = Stage(root, "base_model", Settings(), {})
    writer.publish(Counts())
    prompts = of(tmp_path, take_prompts(root, prompt_file(tmp_path, {"messages": ASKED}), []))
    [prompt] = read_records(prompts, "prompts", Prompt)
    assert (prompt.text, prompt.history) == ("Another one?", ASKED[:-1])
    sampling = SamplingSettings(candidates=2, concurrency=1)
    sampled = of(tmp_path, sample_candidates(root, sampling, writer.uri, prompts, url))
    assert [body["messages"] for body in script.bodies] == [ASKED, ASKED]
    judged = judge_candidates(root, JudgingSettings(samples=1, concurrency=1), writer.uri, sampled, url)
    assert all(SHOWN in body["messages"][-1]["content"] for body in script.bodies[2:])
    pairs = make_pairs(root, PairsSettings(), sampled, of(tmp_path, judged))
    [pair] = read_records(of(tmp_path, pairs), "pairs", Pair)
    assert preference_row(pair) == {
        "prompt": ASKED,
        "chosen": [{"role": "assistant", "content": "The Rhine."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }


@pytest.mark.parametrize(
    "messages",
    [[], ASKED[:-1], ASKED[1:2] * 2, [ASKED[1], ASKED[0], ASKED[3]], [{"role": "user", "content": " "}], "hi"],
    ids=["none", "ends with an answer", "two questions", "system in the middle", "empty", "a text"],
)
def test_what_is_no_conversation_is_refused_with_its_line(tmp_path: Path, messages: Any) -> None:
    settings = prompt_file(tmp_path, {"prompt": "hi"}, {"messages": messages})
    with pytest.raises(UserError, match="line 2") as caught:
        take_prompts(str(tmp_path), settings, [])
    assert "the user last" in caught.value.remedy


def test_the_last_question_alone_does_not_make_two_prompts_one(tmp_path: Path) -> None:
    """The same follow-up after another question is another prompt; without a history the id is what it was."""
    other = [ASKED[0], {"role": "user", "content": "Name a lake."}, *ASKED[2:]]
    lines = [{"messages": ASKED}, {"messages": other}, {"prompt": "Another one?"}, {"messages": ASKED[-1:]}]
    made = take_prompts(str(tmp_path), prompt_file(tmp_path, *lines[:3]), [])
    assert made.counts.kept == {"prompts": 3}
    made = take_prompts(str(tmp_path), prompt_file(tmp_path, *lines).model_copy(update={"count": 3}), [])
    assert made.counts.dropped == {"prompt: given twice": 1}


def test_a_single_turn_s_line_is_what_it_was() -> None:
    """No field without a history: digests and keys of what is in people's stores stay."""
    records = [
        Prompt(id="p", text="hi"),
        Example(id="e", kind="ift", prompt="hi", completion="ho"),
        Candidate(id="p/0", prompt_id="p", prompt="hi", text="ho", finish_reason="stop", seed=1, tokens=2),
    ]
    assert not any("history" in record.model_dump(mode="json") for record in records)
    assert Prompt(id="p", text="hi", history=ASKED[:1]).model_dump(mode="json")["history"] == ASKED[:1]


def conversation_example() -> Example:
    return Example(id="e", kind="ift", prompt=ASKED[-1]["content"], completion="The Rhine.", history=ASKED[:-1])


def test_training_text_is_the_served_prompt_and_the_answer() -> None:
    tokenizer = make_tiny_tokenizer()
    [row], _ = training_rows([conversation_example()], tokenizer, SftSettings())
    served = tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
    trained = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    assert trained == served + "The Rhine.<|im_end|>\n"


def test_a_template_that_leaves_the_system_message_out_trains_on_none_of_it() -> None:
    """Else the model would be trained to follow what it was not told."""
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE.replace("in messages %}", "in messages if message['role'] != 'system' %}")
    rows, counts = training_rows([conversation_example()], tokenizer, SftSettings())
    assert not rows
    assert counts.dropped == {"ift: changed by the chat template": 1}


def test_a_template_without_a_system_role_says_so() -> None:
    tokenizer = make_tiny_tokenizer()
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = refuse + CHAT_TEMPLATE
    with pytest.raises(UserError, match="refuses a conversation of system, user, assistant, user, assistant") as caught:
        training_rows([conversation_example()], tokenizer, SftSettings())
    assert "model.chat_template" in caught.value.remedy
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    pair = Pair(id="p", prompt="hi", chosen="a", rejected="b", history=ASKED[:1], **scores)
    with pytest.raises(UserError, match="System role not supported"):
        usable_pairs([pair], tokenizer, 2048)
