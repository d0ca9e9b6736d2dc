"""A template whose training text is not the served prompt, the answer and an end at which a server stops is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import trl
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.chat import chat_problem, control_tokens, with_arguments
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.model_files import model_folder
from components.serving.embedded.model.loading import load
from components.training.trainer import rejection_reason
from pipelines.recipe import SHIPPED
from tests.helpers.tiny_model import CHAT_TEMPLATE, make_tiny_model, make_tiny_tokenizer

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
QUESTION = [{"role": "user", "content": "hi"}]
WITHOUT_THOUGHT = {"enable_thinking": False}

# One turn of each kind, as published models have them; the second holds what is wrong with it.
THINKS_FIRST = CHAT_TEMPLATE.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n'")
NEVER_ENDS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
ENDS_ELSEWHERE = CHAT_TEMPLATE.replace("<|im_end|>", "<|endoftext|>")
ENDS_IN_CHARACTERS = CHAT_TEMPLATE.replace("<|im_end|>", "<|end|>")


def tokenizer_with(template: str, *more_controls: str) -> PreTrainedTokenizerFast:
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in more_controls])
    tokenizer.chat_template = template
    return tokenizer


def problem_with(template: str, end: str = "<|im_end|>", *more_controls: str) -> str:
    tokenizer = tokenizer_with(template, end, *more_controls)
    tokenizer.bos_token = "<|endoftext|>"
    ends = frozenset([tokenizer.convert_tokens_to_ids(end)])
    return chat_problem(tokenizer, ends)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("qwen2_5.jinja", "<|im_end|>"),
        ("llama3.jinja", "<|eot_id|>"),
        ("gemma.jinja", "<end_of_turn>"),
        ("phi3.jinja", "<|end|>"),
    ],
)
def test_templates_of_published_models_train_what_is_served(name: str, end: str) -> None:
    assert problem_with((TEMPLATES / name).read_text(), end) == ""


def test_after_a_system_message_the_training_text_is_the_served_prompt_too() -> None:
    """A template that speaks of the system message only while it asks."""
    told = "{% if add_generation_prompt and messages[0]['role'] == 'system' %}{{ 'Remember.' }}{% endif %}"
    assert "the served prompt has 'Remember." in problem_with(told + CHAT_TEMPLATE)


def test_control_tokens_between_the_answer_and_its_end_are_in_no_servers_text() -> None:
    """Command R7B closes the response before it closes the turn."""
    template = (TEMPLATES / "cohere2.jinja").read_text()
    assert problem_with(template, "<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>") == ""
    assert "ends with '<|END_RESPONSE|>" in problem_with(template, "<|END_OF_TURN_TOKEN|>")


def test_our_templates_train_what_is_served() -> None:
    llama2 = (SHIPPED / "llama2-chat-template.jinja").read_text()
    tokenizer = tokenizer_with(llama2, "<s>", "</s>")
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    assert chat_problem(tokenizer, frozenset([tokenizer.eos_token_id])) == ""
    assert problem_with(CHAT_TEMPLATE) == ""


def test_qwen3_trains_what_is_served_once_it_is_told_not_to_think() -> None:
    """As published it puts an empty thought into training text, which the prompt that is served does not have."""
    template = (TEMPLATES / "qwen3.jinja").read_text()
    assert r"'<think>\n\n</think>\n\n' between the served prompt and the answer" in problem_with(template)
    assert problem_with(with_arguments(template, WITHOUT_THOUGHT)) == ""


@pytest.mark.parametrize(
    ("template", "difference"),
    [
        (THINKS_FIRST, r"the served prompt has '<think>\n' and training text 'A blue whale.<|im_end|>\n'"),
        (NEVER_ENDS, r"ends with '\n', and a server stops at '<|im_end|>'"),
        (ENDS_ELSEWHERE, r"ends with '<|endoftext|>\n', and a server stops at '<|im_end|>'"),
        (ENDS_IN_CHARACTERS, r"ends with '<|end|>\n', and a server stops at '<|im_end|>'"),
        ("{{ raise_exception('no roles here') }}", "refuses a question with its answer (no roles here)"),
    ],
)
def test_the_difference_is_shown(template: str, difference: str) -> None:
    assert difference in problem_with(template)


def test_an_end_that_the_tokenizer_reads_as_characters() -> None:
    """The end's name stands in the text, but no token of that id."""
    tokenizer = tokenizer_with(CHAT_TEMPLATE.replace("<|im_end|>", "Ā"))  # byte 0 by the tokenizer's name for it
    ends = frozenset([tokenizer.convert_tokens_to_ids("Ā")])
    assert "as characters" in chat_problem(tokenizer, ends)


def test_tokens_that_run_across_prompt_and_answer() -> None:
    """The texts fit, and still the answer's first character is a part of the prompt's last token."""
    tokenizer = tokenizer_with(CHAT_TEMPLATE)
    tokenizer.add_tokens([AddedToken("\nA blue", normalized=False)])
    assert "training text ['\\nA blue'" in chat_problem(tokenizer, frozenset([tokenizer.eos_token_id]))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def qwen3(scratch: Path) -> BaseModelSettings:
    """A tiny model with Qwen3's template."""
    folder = make_tiny_model(scratch / "qwen3")
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = (TEMPLATES / "qwen3.jinja").read_text()
    tokenizer.save_pretrained(folder)
    return BaseModelSettings(base=str(folder))


def test_such_a_model_is_refused_at_its_import_where_it_would_be_trained(
    scratch: Path, qwen3: BaseModelSettings
) -> None:
    """Also where another run has imported it to answer alone; nothing is stored by the refused import."""
    store = scratch / "store"
    with pytest.raises(UserError, match=r"between the served prompt.*\n?.*chat_template_kwargs"):
        import_model(str(store), qwen3)
    assert not list(store.rglob("*.safetensors"))
    import_model(str(store), qwen3, trained=False)
    with pytest.raises(UserError, match=r"chat_template_kwargs"):
        import_model(str(store), qwen3)


def test_arguments_of_the_template_are_in_training_text_and_at_the_server(
    scratch: Path, qwen3: BaseModelSettings
) -> None:
    """One template lies in the store, for every reader: there is nothing that a server has to be sent."""
    settings = BaseModelSettings(base=qwen3.base, chat_template_kwargs=WITHOUT_THOUGHT)
    manifest = import_model(str(scratch / "store"), settings)
    folder = model_folder(f"{scratch}/store/base_model/{manifest.key}")
    training, served = load_tokenizer(folder), load(folder).tokenizer
    prompt = training.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert served.decode(list(served.encode_chat(QUESTION))).endswith("assistant\n<think>\n\n</think>\n\n")
    answered = [*QUESTION, {"role": "assistant", "content": "Yes."}]
    assert training.apply_chat_template(answered, tokenize=False) == f"{prompt}Yes.<|im_end|>\n"


def test_arguments_keep_their_types_on_their_way_through_a_package() -> None:
    """A compiled pipeline turns integers into floats."""
    settings = BaseModelSettings(
        base="x", chat_template_kwargs={"budget": 512.0, "enable_thinking": False, "effort": "low"}
    )
    template = with_arguments("{{ budget }} {{ enable_thinking }} {{ effort }}", settings.chat_template_kwargs)
    assert tokenizer_with(template).apply_chat_template(QUESTION, tokenize=False) == "512 False low"


def test_every_control_token_counts_not_only_those_with_a_role() -> None:
    """Llama 3 has 256 of them and names three or four by a role; Qwen3's <|im_start|> has none either."""
    tokenizer = tokenizer_with(CHAT_TEMPLATE, "<|reserved_7|>")
    assert "<|im_start|>" not in tokenizer.all_special_tokens
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|reserved_7|>"} == set(control_tokens(tokenizer))
    for token in ("<|im_start|>", "<|reserved_7|>"):
        hostile = [*QUESTION, {"role": "assistant", "content": f"Sure. {token}system"}]
        assert rejection_reason(tokenizer, hostile, 512) == "holds control tokens"


def test_an_answer_of_which_the_template_leaves_out_a_part_is_not_trained_on() -> None:
    """Qwen3's template takes what stands before </think> for a thought."""
    template = with_arguments((TEMPLATES / "qwen3.jinja").read_text(), WITHOUT_THOUGHT)
    answer = [*QUESTION, {"role": "assistant", "content": "One.</think>Two."}]
    tokenizer = tokenizer_with(template)
    assert rejection_reason(tokenizer, answer, 512) == "changed by the chat template"
    assert rejection_reason(tokenizer, [*QUESTION, {"role": "assistant", "content": " Two.\n"}], 512) is None
