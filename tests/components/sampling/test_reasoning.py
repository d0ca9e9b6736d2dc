"""A policy that thinks: what is judged is the answer alone, and what DPO learns is what the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trl
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.chat import IN_FIELD, IN_TEXT, thought_form
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.records import Candidate, Counts, Messages, Pair, Prompt
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.judging.judging import judge_candidates
from components.judging.settings import JudgingSettings
from components.pairs.pairs import make_pairs
from components.pairs.settings import PairsSettings
from components.sampling.sampling import sample_candidates
from components.sampling.settings import SamplingSettings
from components.training.dpo.dpo import make_trainer, preference_row, usable_pairs
from components.training.dpo.settings import DpoSettings
from pipelines.recipe import Recipe
from tests.helpers.scripted_endpoint import Script, said
from tests.helpers.tiny_model import CHAT_TEMPLATE, make_tiny_model, make_tiny_tokenizer

Serve = Callable[[Script], str]
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
QWEN3 = (TEMPLATES / "qwen3.jinja").read_text()
R1 = (TEMPLATES / "deepseek_r1_distill.jinja").read_text()
ASKED: Messages = [{"role": "user", "content": "A river?"}]
SCORES = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
PAIR = Pair(id="p", prompt="A river?", chosen="The Po.", rejected="No.", chosen_reasoning="Italy has one.", **SCORES)


def tokenizer_with(template: str, *tokens: str, special: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(token, special=special, normalized=False) for token in tokens])
    tokenizer.chat_template = template
    return tokenizer


def model_with(folder: Path, template: str) -> BaseModelSettings:
    model = make_tiny_model(folder)
    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(model)
    return BaseModelSettings(base=str(model))


def a_round(root: Path, serve: Serve, settings: SamplingSettings) -> tuple[list[Candidate], Pair, Script]:
    """Two candidates that think "Hm 1" and "Hm 2"; the judge thinks, too, and prefers the one that names a river."""

    def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = body["messages"][-1]["content"]
        if asked.startswith("Judge how well"):
            return said(f"<think>Score: 0?</think>\nScore: {5 if 'The Po.' in asked else 1}")
        return said(f"<think>\nHm {number}\n</think>\n\n{'The Po.' if number == 1 else 'No.'}")

    script = Script(answer)
    url, store = serve(script), str(root)

    def of(manifest: Any) -> str:
        return f"{root}/{manifest.stage}/{manifest.key}"

    writer = Stage(store, "base_model", Settings(), {})
    writer.publish(Counts())
    asked = Stage(store, "prompts", Settings(), {})
    asked.publish(Counts(), {"prompts": [Prompt(id="p", text="A river?")]})
    sampled = of(sample_candidates(store, settings, writer.uri, asked.uri, url))
    judged = of(judge_candidates(store, JudgingSettings(samples=1), writer.uri, sampled, url))
    pairs = of(make_pairs(store, PairsSettings(), sampled, judged))
    return read_records(sampled, "candidates", Candidate), read_records(pairs, "pairs", Pair)[0], script


@pytest.mark.parametrize("reasoning", ["strip", "keep"])
def test_the_judge_sees_the_answer_alone_and_the_pair_has_the_thought_where_it_is_kept(
    tmp_path: Path, serve: Serve, reasoning: Any
) -> None:
    settings = SamplingSettings(candidates=2, concurrency=1, reasoning=reasoning)
    candidates, pair, script = a_round(tmp_path, serve, settings)
    assert [c.text for c in candidates] == ["The Po.", "No."]
    assert not any("Hm" in body["messages"][-1]["content"] for body in script.bodies)
    assert (pair.chosen, pair.rejected) == ("The Po.", "No.")
    thoughts = ("Hm 1", "Hm 2") if reasoning == "keep" else ("", "")
    assert (pair.chosen_reasoning, pair.rejected_reasoning) == thoughts
    if reasoning == "strip":  # lines, digests and keys are what they were
        assert not any("reasoning" in field for line in (*candidates, pair) for field in line.model_dump(mode="json"))


def test_a_thought_is_trained_on_as_qwen3_s_template_has_it() -> None:
    """What is trained on is the served prompt and, letter by letter, what Qwen3 answers with."""
    tokenizer = tokenizer_with(QWEN3)
    [pair], counts = usable_pairs([PAIR], tokenizer, 2048)
    assert counts.dropped == {}
    row = preference_row(pair, thought_form(tokenizer))
    served = tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
    chosen, rejected = (
        tokenizer.apply_chat_template(ASKED + row[side], tokenize=False) for side in ("chosen", "rejected")
    )
    assert chosen == served + "<think>\nItaly has one.\n</think>\n\nThe Po.<|im_end|>\n"
    assert rejected == served + "<think>\n\n</think>\n\nNo.<|im_end|>\n"  # it did not think: the template's own form


@pytest.mark.parametrize(
    ("template", "tokens", "special", "form"),
    [
        (QWEN3, (), False, IN_FIELD),
        (CHAT_TEMPLATE, ("<think>", "</think>"), False, IN_TEXT),
        (CHAT_TEMPLATE, ("<think>", "</think>"), True, ""),  # no server writes it into a text
        (CHAT_TEMPLATE, (), False, ""),
        (R1, ("<think>", "</think>"), False, ""),  # leaves thoughts out of training text
        ("{{ raise_exception('no') }}", ("<think>", "</think>"), False, ""),
    ],
    ids=["Qwen3", "ChatML with tokens", "control tokens", "ChatML", "R1", "refuses"],
)
def test_where_a_template_takes_thoughts(template: str, tokens: tuple[str, ...], special: bool, form: str) -> None:
    tokenizer = tokenizer_with(template, *tokens, special=special)
    assert thought_form(tokenizer) == form
    if not form:
        with pytest.raises(UserError, match="no place for them") as caught:
            usable_pairs([PAIR], tokenizer, 2048)
        assert "sampling.reasoning" in caught.value.remedy


def test_dpo_s_rows_hold_the_thoughts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    folder = Path(model_with(tmp_path / "model", QWEN3).base)
    tokenizer = load_tokenizer(folder)
    settings = DpoSettings(batch_size=1, micro_batch_size=1, held_out=0)
    plain = PAIR.model_copy(update={"id": "q", "chosen_reasoning": ""})
    trainer = make_trainer(folder, tokenizer, [PAIR, plain], settings, tmp_path / "out")
    texts = [tokenizer.decode(row["chosen_ids"]) for row in trainer.train_dataset]
    assert [text.split("</think>")[0] for text in texts] == ["<think>\nItaly has one.\n", "<think>\n\n"]


def test_a_model_is_imported_by_what_it_is_to_be_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qwen3 that thinks is fit for its thoughts alone, ChatML without tokens for them for answers alone.

    Also where the store has the model already, by a run that asked for the other.
    """
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    store, qwen3 = str(tmp_path / "store"), model_with(tmp_path / "qwen3", QWEN3)
    made = import_model(store, qwen3, thinks=True)
    with pytest.raises(UserError) as caught:
        import_model(store, qwen3)
    assert "sampling.reasoning: keep" in caught.value.remedy
    assert import_model(store, qwen3, thinks=True) == made

    chatml = model_with(tmp_path / "chatml", CHAT_TEMPLATE)
    import_model(store, chatml)
    with pytest.raises(UserError, match="neither takes reasoning_content") as caught:
        import_model(store, chatml, thinks=True)
    assert "sampling.reasoning" in caught.value.remedy


def test_answers_that_are_only_measured_keep_none() -> None:
    raw = {"name": "x", "model": {"base": "m"}, "data": {"messages": "m"}, "sampling": {"reasoning": "keep"}}
    assert Recipe(**raw).sampling.reasoning == "keep"
