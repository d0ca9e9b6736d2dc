"""What a model is, without its weights: enough to say in seconds whether a run of days could use it (`srlm check`)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.base_model.base_model import load_tokenizer, require_one_text, set_up_chat
from components.base_model.chat import roles_not_shown, thought_form
from components.base_model.settings import BaseModelSettings
from components.base_model.sources import SMOLLM2, fetch_descriptions, smollm2_gguf
from components.core.errors import UserError
from components.core.model_files import scratch_folder


@dataclass(frozen=True)
class ModelDescription:
    """`parameters` counts tied weights once; `config` is its config.json. `not_shown` are parts of conversations that
    its chat template leaves out, even with the rules that are written into it at the import."""

    architecture: str
    parameters: int
    config: Mapping[str, Any]
    not_shown: list[str]


def describe_model(settings: BaseModelSettings, trained: bool = True, thinks: bool = False) -> ModelDescription:
    """Reads config, tokenizer and chat template as the import does, and builds the model without its weights.

    Raises UserError where the import would: no such model, no safetensors, no chat template, or one that a model that
    is to be `trained` cannot be trained with (`thinks`: on its thoughts, too).
    """
    with scratch_folder() as scratch:
        folder = scratch / "model"
        try:
            _copy_descriptions(settings, scratch, folder)
            architecture, parameters, config = _build(folder)
            problems = set_up_chat(folder, settings)
            tokenizer = load_tokenizer(folder)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"{settings.base} cannot be read as a model for text: {reason}",
                "Give a causal language model that this version of transformers knows, with config.json and tokenizer.",
            ) from error
        if trained and not thinks:
            require_one_text(settings.base, problems)
        if thinks and not thought_form(tokenizer):
            raise UserError(
                f"the chat template of {settings.base} has no place for a thought", "Set sampling.reasoning to strip."
            )
        return ModelDescription(architecture, parameters, config, roles_not_shown(tokenizer))


def _copy_descriptions(settings: BaseModelSettings, scratch: Path, folder: Path) -> None:
    """Copies all files but the weights to `folder`, as the import changes them there."""
    if settings.base == SMOLLM2:
        from transformers import AutoConfig, AutoTokenizer

        path = smollm2_gguf()
        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
        AutoConfig.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
        return
    folder.mkdir()
    for path in fetch_descriptions(settings, scratch).iterdir():
        if path.is_file() and path.suffix not in (".safetensors", ".bin", ".gguf", ".pt", ".pth"):
            shutil.copyfile(path, folder / path.name)


def _build(folder: Path) -> tuple[str, int, dict[str, Any]]:
    """Name of its class, weights, and configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):  # shapes alone: 70B takes no memory
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return type(model).__name__, sum(weight.numel() for weight in model.parameters()), config.to_dict()
