"""What a system message, and one role twice in a row, become where a template does not know them."""

from __future__ import annotations

from pathlib import Path

import pytest
import trl
from jinja2 import TemplateError

from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.chat import in_users_turn, with_roles
from components.base_model.settings import BaseModelSettings
from components.core.model_files import model_folder
from components.core.records import Example, Messages
from components.serving.adjustments import Adjustments
from components.serving.client import Request, Sampling
from components.serving.embedded.model.loading import load
from components.serving.meaning import Kind, Meaning
from components.training.sft.settings import SftSettings
from components.training.sft.sft import training_rows
from pipelines.recipe import SHIPPED
from tests.helpers.tiny_model import CHAT_TEMPLATE, make_tiny_model, make_tiny_tokenizer

TRL = Path(trl.__file__).parent / "chat_templates"
REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
ALTERNATE = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}{% endfor %}"
)
GEMMA = REFUSES_SYSTEM + ALTERNATE + CHAT_TEMPLATE
MISTRAL = ALTERNATE + CHAT_TEMPLATE
SILENT = CHAT_TEMPLATE.replace("in messages %}", "in messages if message['role'] != 'system' %}")
# Knows a system message, and no two of one role behind it: as Mistral Small's
ALTERNATE_BEHIND = ALTERNATE.replace("in messages %}", "in messages if m['role'] != 'system' %}") + CHAT_TEMPLATE
LLAMA2 = (SHIPPED / "llama2-chat-template.jinja").read_text()


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


CONVERSATION: Messages = [system("Be brief."), user("Name a river."), assistant("The Po."), user("Another?")]
JOINED: Messages = [user("Be brief.\n\nName a river."), *CONVERSATION[2:]]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))


def imported(folder: Path, template: str) -> Path:
    """Files of a tiny model with this template, as they lie in the store."""
    model = make_tiny_model(folder / "model")
    manifest = import_model(str(folder / "store"), BaseModelSettings(base=str(model), chat_template=template))
    return model_folder(f"{folder}/store/base_model/{manifest.key}")


def written(template: str, messages: Messages) -> str:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = template
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


@pytest.mark.parametrize("template", [GEMMA, MISTRAL, SILENT], ids=["gemma", "mistral", "silent"])
def test_without_a_system_role_its_text_is_said_by_the_user_in_training_and_at_the_server(
    tmp_path: Path, template: str
) -> None:
    """The served prompt is that of the joined messages by the model's own template; training text begins with it."""
    folder = imported(tmp_path, template)
    prompt = written(template, JOINED)
    served = load(folder).tokenizer
    assert served.decode(list(served.encode_chat(CONVERSATION))) == written(template, JOINED).replace(
        "<|im_start|>", ""
    ).replace("<|im_end|>", "")
    tokenizer = load_tokenizer(folder)
    example = Example(id="e", kind="ift", prompt="Another?", completion="The Rhine.", history=CONVERSATION[:-1])
    [row], counts = training_rows([example], tokenizer, SftSettings())
    assert counts.kept == {"ift": 1}
    trained = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    assert trained == prompt + "The Rhine.<|im_end|>\n"


@pytest.mark.parametrize("template", [GEMMA, MISTRAL, ALTERNATE_BEHIND], ids=["gemma", "mistral", "known system"])
def test_where_roles_must_alternate_they_do(tmp_path: Path, template: str) -> None:
    asked = [*CONVERSATION, user("Or a lake?")]
    with pytest.raises(TemplateError):
        written(template, asked)
    served = load_tokenizer(imported(tmp_path, template))
    text = served.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    known = template is ALTERNATE_BEHIND
    first = CONVERSATION[:2] if known else JOINED[:1]
    assert text == written(template, [*first, CONVERSATION[2], user("Another?\n\nOr a lake?")])


@pytest.mark.parametrize(
    "template",
    [CHAT_TEMPLATE, *((TRL / f"{name}.jinja").read_text() for name in ("qwen2_5", "qwen3", "llama3"))],
    ids=["ChatML", "Qwen2.5", "Qwen3", "Llama 3"],
)
def test_what_knows_them_is_left_as_it_is(template: str) -> None:
    """So that the digests, and the keys of all that was made with such a model, stay."""
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = template
    assert with_roles(tokenizer) == template
    assert tokenizer.chat_template == template


@pytest.mark.parametrize("template", [LLAMA2, (TRL / "gemma.jinja").read_text()], ids=["Llama 2, ours", "Gemma"])
def test_published_templates_without_a_system_role(template: str) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template, tokenizer.bos_token = template, "<|endoftext|>"
    text = tokenizer.apply_chat_template(CONVERSATION, chat_template=with_roles(tokenizer), tokenize=False)
    assert text == tokenizer.apply_chat_template(JOINED, tokenize=False)


OF_IMAGES = ("idefics3", "llava_next", "smolvlm")  # whose messages are lists of texts and images
PUBLISHED = sorted(path.stem for path in TRL.glob("*.jinja") if not path.stem.endswith("_training"))


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in OF_IMAGES])
def test_every_published_template_shows_every_message_in_its_order(name: str) -> None:
    """A system message, and one role twice in a row: some 40 families, of which a few know one or neither."""
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template, tokenizer.bos_token = (TRL / f"{name}.jinja").read_text(), "<|endoftext|>"
    asked = [*CONVERSATION, user("Or a lake?")]
    tokenizer.chat_template = with_roles(tokenizer)
    text = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
    places = [text.find(message["content"]) for message in asked]
    assert min(places) >= 0 and places == sorted(places), text


def test_each_of_several_templates_gets_the_rule_and_a_second_import_none(tmp_path: Path) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = {"default": GEMMA, "rag": GEMMA}
    made = with_roles(tokenizer)
    assert made["default"] == made["rag"] != GEMMA
    tokenizer.chat_template = made
    assert with_roles(tokenizer) == made


def test_a_template_for_which_nothing_helps_is_left_as_it_is() -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert with_roles(tokenizer) == "{{ raise_exception('no') }}"


@pytest.mark.parametrize(
    ("messages", "joined"),
    [
        (CONVERSATION, JOINED),
        (JOINED, JOINED),
        ([system("A"), system("B"), user("c")], [user("A\n\nB\n\nc")]),
        ([system("A"), assistant("b"), user("c")], [user("A"), assistant("b"), user("c")]),
        ([user("a"), assistant("b"), assistant("c"), user("d")], [user("a"), assistant("b\n\nc"), user("d")]),
        ([system("<b> & 'é' \\ {{ x }}\n"), user("🐳")], [user("<b> & 'é' \\ {{ x }}\n\n\n🐳")]),
        ([system("alone")], [user("alone")]),
        ([], []),
    ],
)
def test_the_rule(messages: Messages, joined: Messages) -> None:
    """The same one for a server of others, which says at the first question that it knows no system role."""
    assert in_users_turn(messages) == joined
    adjustments = Adjustments()
    request = Request("r", messages, Sampling(0.0, 1.0, 5), 0)
    told = adjustments.adjust(adjustments.body(request, ""), Meaning(Kind.ROLES))
    assert (told is None) == (messages == joined)
    assert adjustments.body(request, "")["messages"] == joined
