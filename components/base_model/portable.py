"""A model's folder that old and new readers read alike: transformers 4 and 5, TGI, vLLM (issue 14).

The files that the base model came with are the truth: they go from model to model, and the weights beside them alone
are new. transformers 5 would write them in a form of its own, where version 4 finds no class TokenizersBackend and no
`rope_theta`, so that it computes with 10000 without a word, and TGI no chat template. Files that come in that form are
given the old one, too.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.base_model.sources import DESCRIPTIONS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Config = dict[str, Any]
CONFIG, GENERATION, SHARDS = "config.json", "generation_config.json", "*.safetensors.index.json"
TOKENIZER, TOKENIZER_CONFIG, MISTRALS = "tokenizer.json", "tokenizer_config.json", "tekken.json"
TEMPLATE, MORE_TEMPLATES = "chat_template.jinja", "additional_chat_templates"
# What version 4 calls the base of rotary embeddings and the share of a head that is rotated, where it has other names
ROTARY_NAMES = {"gpt_neox": ("rotary_emb_base", "rotary_pct")}
# Digits, contractions, spaces, scripts: where tokenizers differ
PROBE = "In 2024, we've 12345 + 6.7 = DON'T\n\n\ttab  two  spaces \n def f(x):\n    Zwölf Ärzte, 东京は7時 и ещё 😀é"


def make_portable(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the files what old readers need, where it is not there; `tokenizer` is the folder's, with its template."""
    _add_old_names(folder)
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is not None and not (folder / TOKENIZER).exists():
        inner.save(str(folder / TOKENIZER))
    if (folder / TOKENIZER).exists():
        (folder / MISTRALS).unlink(missing_ok=True)  # mistral-common, where it is installed, has templates of its own
    described = _read(folder / TOKENIZER_CONFIG)
    if described.get("backend") == "tokenizers" or not _reads_its_file(tokenizer, folder / TOKENIZER):
        described["tokenizer_class"] = "PreTrainedTokenizerFast"  # in every version: tokenizer.json as it is
        described.setdefault("model_input_names", list(tokenizer.model_input_names))
    if isinstance(described.get("extra_special_tokens"), list):
        described["additional_special_tokens"] = described.pop("extra_special_tokens")
    _write_template(folder, described, tokenizer.chat_template)
    _write(folder / TOKENIZER_CONFIG, described)


def keep_description(start: Path, folder: Path, dtype: str) -> None:
    """Describe the weights that were saved in `folder`, in `dtype`, by the files of `start`, which they were before.

    What transformers wrote of their configuration stays where `start` is another model: one that sees, too.
    """
    config, before = _read(folder / CONFIG), _read(start / CONFIG)
    same = all(config.get(key) == before.get(key) for key in ("model_type", "architectures"))
    (folder / GENERATION).unlink(missing_ok=True)
    for path in (path for pattern in DESCRIPTIONS for path in start.glob(pattern)):
        if not path.match(SHARDS) and (same or path.name != CONFIG):
            shutil.copyfile(path, folder / path.name)
    _add_old_names(folder)
    config = _read(folder / CONFIG)
    for part in (config, *(part for part in config.values() if isinstance(part, dict) and "model_type" in part)):
        part |= {"dtype": dtype, "torch_dtype": dtype}
    _write(folder / CONFIG, config)


def _add_old_names(folder: Path) -> None:
    """To config.json, but not where the version that trains would read another model then: one that only new versions
    know.
    """
    from transformers import AutoConfig

    known, before = (folder / CONFIG).read_bytes(), AutoConfig.from_pretrained(folder).to_dict()
    _write(folder / CONFIG, _with_old_names(_read(folder / CONFIG)))
    try:
        alike = _holds(AutoConfig.from_pretrained(folder).to_dict(), before)
    except Exception:  # of many kinds: each model checks its own configuration
        alike = False
    if not alike:
        (folder / CONFIG).write_bytes(known)


def _holds(content: Any, before: Any) -> bool:
    """Whether all that was there before is there, at every depth."""
    if isinstance(content, dict) and isinstance(before, dict):
        return all(name in content and _holds(content[name], value) for name, value in before.items())
    return bool(content == before)


def _with_old_names(config: Config) -> Config:
    """With what version 4 reads of what version 5 writes otherwise, where it is not there. Kinds of layers may have
    rotations of their own, and a model that sees, too, has its language model's configuration within.
    """
    layers, rope = config.get("layer_types") or [], config.get("rope_parameters") or {}
    whole, local = rope.get("full_attention") or rope, rope.get("sliding_attention") or {}
    base, share = ROTARY_NAMES.get(config.get("model_type", ""), ("rope_theta", "partial_rotary_factor"))
    scaling = {name: value for name, value in whole.items() if name not in ("rope_theta", "partial_rotary_factor")}
    scaled = scaling != {"rope_type": "default"} and "rope_type" in scaling
    mixed = {"full_attention", "sliding_attention"} == set(layers)
    old = {
        base: whole.get("rope_theta"),
        share: whole.get("partial_rotary_factor"),
        "rope_scaling": scaling if scaled else None,
        "rope_local_base_freq": local.get("rope_theta"),
        "sliding_window_pattern": layers.index("full_attention") + 1 if mixed else None,
        "torch_dtype": config.get("dtype"),
    }
    inner = {"text_config": _with_old_names(config["text_config"])} if config.get("text_config") else {}
    return {name: value for name, value in old.items() if value} | config | inner


def _reads_its_file(tokenizer: Any, file: Path) -> bool:
    """Whether the tokenizer reads text as tokenizer.json says; some classes of version 5 build one of their own, which
    differs in the pieces of a text or in the spaces before it and behind a control token.
    """
    if not file.exists() or not hasattr(tokenizer, "backend_tokenizer"):
        return True
    inner, end = type(tokenizer.backend_tokenizer).from_file(str(file)), tokenizer.eos_token or ""
    inner.no_truncation()
    return all(
        tokenizer(text, add_special_tokens=False)["input_ids"] == inner.encode(text, add_special_tokens=False).ids
        for text in (PROBE, f" {PROBE}{end}{PROBE}{end} {PROBE}")
    )


def _write_template(folder: Path, described: Config, template: str | dict[str, str] | None) -> None:
    """One template in both places where it is looked for; several in the one where every reader finds them."""
    several = template if isinstance(template, dict) else {}
    named = [{"name": name, "template": text} for name, text in several.items()] or template
    if not template or (named == described.get("chat_template") and not (folder / TEMPLATE).exists()):
        return
    described["chat_template"] = named
    shutil.rmtree(folder / MORE_TEMPLATES, ignore_errors=True)
    if several:
        (folder / TEMPLATE).unlink(missing_ok=True)
    else:
        (folder / TEMPLATE).write_text(str(template))


def _read(path: Path) -> Config:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _write(path: Path, content: Config) -> None:
    """Nothing where the file says so already: its bytes are part of the model's digest."""
    if content != _read(path):
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
