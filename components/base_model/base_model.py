"""Bring M0 into the store once: safetensors, tokenizer, chat template. Everything later is keyed on its digest."""

from __future__ import annotations

from pathlib import Path

from components.base_model.settings import BaseModelSettings
from components.base_model.sources import SMOLLM2, fetch, identify, smollm2_gguf
from components.core.model_files import prime_model_cache
from components.core.progress import say
from components.core.records import Counts, Manifest
from components.core.stage import Stage


def import_model(root: str, settings: BaseModelSettings) -> Manifest:
    """The base_model stage; raises UserError for a model without a chat template."""
    source = identify(settings)
    own = settings.model_copy(update={"base": "", "revision": None})  # the digest says what it is, not its name
    stage = Stage(root, "base_model", own, {"source": source})
    if stage.manifest:
        return stage.manifest
    from components.training.trainer import workspace

    with workspace() as work:
        folder = work / "model"
        say(f"importing {settings.base}")
        if settings.base == SMOLLM2:
            _convert_gguf(smollm2_gguf(), folder)
        else:
            _copy(fetch(settings, source.digest, work), folder, settings.chat_template)
        manifest = stage.publish(Counts(kept={"parameters": count_parameters(folder)}), folder=folder)
        prime_model_cache(stage.uri, folder)
    return manifest


def _convert_gguf(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        # save_pretrained refuses a model that does not say it was dequantised
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder, safe_serialization=True)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)


def _copy(source: Path, folder: Path, chat_template: str | None) -> None:
    import shutil

    from transformers import AutoTokenizer

    from components.training.model import load_tokenizer

    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".bin":
            shutil.copyfile(path, folder / path.name)
    if chat_template:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        tokenizer.chat_template = chat_template
        tokenizer.save_pretrained(folder)
    load_tokenizer(folder)  # refuses a model without a chat template before anything is trained


def count_parameters(folder: Path) -> int:
    """Weights in the folder's safetensors."""
    import math

    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118  no mapping
    return total
