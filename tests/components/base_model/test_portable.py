"""What old readers need of a model's files, and that what has it already stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Gemma3TextConfig

from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.portable import keep_description, make_portable
from components.base_model.settings import BaseModelSettings
from components.core.model_files import model_folder
from components.core.store import join
from tests.helpers.tiny_model import CHAT_TEMPLATE, make_tiny_model, make_tiny_tokenizer

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    return make_tiny_model(tmp_path / "model")


def content(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(content(path) | values))


def imported(model: Path, **settings: Any) -> Path:
    root = str(model.parent / "store")
    made = import_model(root, BaseModelSettings(base=str(model), **settings))
    return model_folder(join(root, made.stage, made.key))


def old_form(model: Path) -> None:
    """The tiny model's files as transformers 4 has written them."""
    change(model / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", chat_template=CHAT_TEMPLATE)
    config = content(model / "tokenizer_config.json")
    (model / "tokenizer_config.json").write_text(json.dumps({key: config[key] for key in config.keys() - {"backend"}}))
    (model / "chat_template.jinja").unlink()
    config = content(model / "config.json")
    theta = config.pop("rope_parameters")["rope_theta"]
    dtype = config.pop("dtype")
    (model / "config.json").write_text(json.dumps(config | {"rope_theta": theta, "torch_dtype": dtype}))


def test_what_transformers_5_wrote_is_given_the_old_form(model: Path) -> None:
    change(model / "config.json", rope_parameters={"rope_theta": 5e5, **LLAMA3})
    change(model / "tokenizer_config.json", extra_special_tokens=["<|endoftext|>"])
    folder = imported(model)
    config = content(folder / "config.json")
    assert config["rope_theta"] == 5e5
    assert config["rope_scaling"] == LLAMA3
    assert config["rope_parameters"] == {"rope_theta": 5e5, **LLAMA3}
    assert config["torch_dtype"] == config["dtype"] == "float32"
    described = content(folder / "tokenizer_config.json")
    assert described["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert described["chat_template"] == CHAT_TEMPLATE == (folder / "chat_template.jinja").read_text()
    assert described["additional_special_tokens"] == ["<|endoftext|>"]
    assert "extra_special_tokens" not in described


def test_what_transformers_4_wrote_stays_byte_for_byte(model: Path) -> None:
    old_form(model)
    folder = imported(model)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in model.iterdir()
    }


def test_a_template_of_the_recipe_is_in_both_places_and_nothing_else_changes(model: Path) -> None:
    old_form(model)
    before = content(model / "tokenizer_config.json")
    folder, own = imported(model, chat_template="{# mine #}" + CHAT_TEMPLATE), "{# mine #}" + CHAT_TEMPLATE
    assert content(folder / "tokenizer_config.json") == before | {"chat_template": own}
    assert (folder / "chat_template.jinja").read_text() == own
    assert (folder / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()


def test_several_templates_stay_where_every_version_finds_them(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = {"default": CHAT_TEMPLATE, "rag": "{# rag #}" + CHAT_TEMPLATE}
    tokenizer.save_pretrained(model)
    assert (model / "additional_chat_templates/rag.jinja").exists()
    folder = imported(model)
    assert content(folder / "tokenizer_config.json")["chat_template"] == [
        {"name": "default", "template": CHAT_TEMPLATE},
        {"name": "rag", "template": "{# rag #}" + CHAT_TEMPLATE},
    ]
    assert not (folder / "chat_template.jinja").exists()
    assert load_tokenizer(folder).chat_template == tokenizer.chat_template


def test_layers_of_two_kinds_have_the_names_that_gemma_3_had(tmp_path: Path) -> None:
    """Of six layers every third is a full one: its rotation is scaled, that of the others has a base of its own."""
    linear = {"rope_type": "linear", "factor": 8.0}
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    whole, local = {"rope_theta": 1e6, **linear}, {"rope_type": "default", "rope_theta": 5e3}
    new = {"layer_types": kinds, "rope_parameters": {"full_attention": whole, "sliding_attention": local}}
    Gemma3TextConfig(num_hidden_layers=6, **new).save_pretrained(tmp_path)
    before = content(tmp_path / "config.json")
    make_portable(tmp_path, make_tiny_tokenizer())
    old = {"rope_theta": 1e6, "rope_local_base_freq": 5e3, "rope_scaling": linear, "sliding_window_pattern": 3}
    assert not old.keys() & before.keys()
    assert content(tmp_path / "config.json") == before | old


def test_a_model_that_no_old_version_knows_keeps_its_configuration(tmp_path: Path) -> None:
    """Gemma 4 with the old names would be read as another model, or not at all."""
    AutoConfig.for_model("gemma4_text").save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    make_portable(tmp_path, make_tiny_tokenizer())
    assert (tmp_path / "config.json").read_bytes() == before


def test_tokens_are_those_of_the_file_where_version_5_would_build_others(model: Path) -> None:
    """As with OLMo 2: the class says GPT-2, and tokenizer.json splits numbers into digits."""
    old_form(model)
    whole = make_tiny_tokenizer()
    digits = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    inner = whole.backend_tokenizer
    inner.pre_tokenizer = pre_tokenizers.Sequence([digits, inner.pre_tokenizer])
    state = json.loads(inner.to_str())
    state["model"]["vocab"] |= {"12": 300}
    state["model"]["merges"] = [["1", "2"]]
    (model / "tokenizer.json").write_text(json.dumps(state))
    change(model / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    assert AutoTokenizer.from_pretrained(model)("12")["input_ids"] == [300]
    folder = imported(model)
    assert len(load_tokenizer(folder)("12")["input_ids"]) == 2
    assert content(folder / "tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_files_of_mistrals_own_readers_are_left_out(model: Path) -> None:
    """vLLM would take them in place of ours: the weights once more, the template from its own library."""
    for name in ("params.json", "tekken.json", "consolidated.safetensors"):
        (model / name).write_bytes((model / "model.safetensors").read_bytes() if "saf" in name else b"{}")
    folder = imported(model)
    assert not {"params.json", "tekken.json", "consolidated.safetensors"} & {path.name for path in folder.iterdir()}


def test_weights_of_another_kind_of_model_keep_their_own_configuration(model: Path, tmp_path: Path) -> None:
    """The language model alone, of one that sees, too."""
    old_form(model)
    folder = tmp_path / "trained"
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(folder)
    change(model / "config.json", architectures=["SeesToo"], vision_config={"model_type": "siglip", "dtype": "float16"})
    keep_description(model, folder, "bfloat16")
    config = content(folder / "config.json")
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert "vision_config" not in config
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"
    assert config["rope_theta"] == 10000
