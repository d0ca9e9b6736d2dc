"""A model directory becomes a model that is known to work in this engine."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicLayer
from transformers.utils import logging

from components.base_model.chat import end_ids
from components.core.errors import UserError
from components.core.hashing import content_hash, file_hash
from components.core.store import home
from components.serving.embedded.model import forward, int8, kv_cache, packed
from components.serving.embedded.model.forward import Forward, own_forward
from components.serving.embedded.model.kv_cache import DecodeCache
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.model.quantize import require_known
from components.serving.embedded.model.tokenizer import Tokenizer

OTHER_ENGINES = "Serve this model with TGI or vLLM instead (`engine: tgi` or `engine: vllm`)."


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode on its device, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: Tokenizer


def load(directory: Path, dtype: str = "auto", quantize: str | None = None) -> LoadedModel:
    """Load a local directory in `dtype`; auto is bf16 on CUDA, fp32 elsewhere. Raises UserError when it cannot be.

    `quantize` is None or int8, for CPUs.
    """
    require_known(quantize, dtype, torch.cuda.is_available())
    if not any(directory.glob("*.safetensors")):
        raise UserError(
            f"{directory} holds no safetensors weights",
            "Give --model a directory that `save_pretrained` wrote: config.json, *.safetensors and tokenizer files.",
        )
    logging.disable_progress_bar()  # it garbles a log file
    tokenizer = _load_tokenizer(directory)
    model = _load_model(directory, dtype)
    if quantize:
        return _quantized(model, tokenizer)
    packed.pack(model)
    return verified(model, tokenizer)


def _quantized(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    """In int8 but for the head. The check comes first: what int8 is off is more than a mask that is ignored may be."""
    int8.require_vnni()
    loaded = verified(model, tokenizer)
    int8.quantize(model, model.get_output_embeddings())
    packed.pack(model)
    return loaded


def verified(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    """A model in evaluation mode that is known to work here. Raises UserError when it does not."""
    _require_supported(model)
    configured = model.generation_config.eos_token_id if model.generation_config else None
    return LoadedModel(model, Tokenizer(tokenizer, end_ids(tokenizer, configured)))


def _load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"the tokenizer in {directory} cannot be loaded: {error}", "Save the model's tokenizer beside its weights."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"the tokenizer in {directory} has no tokenizer.json", "Convert it to a fast tokenizer.")
    return tokenizer


def _load_model(directory: Path, dtype: str) -> PreTrainedModel:
    cuda = torch.cuda.is_available()
    auto = torch.bfloat16 if cuda else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=auto if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:
        raise UserError(
            f"the model in {directory} cannot be loaded: {error}",
            "It must be a causal language model that `transformers` knows without code of its own.",
        ) from error
    try:
        return model.to("cuda" if cuda else "cpu").eval()  # type: ignore[arg-type]  # its decorator hides the signature
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU does not hold the model in {directory} ({error})",
            "Set serving.dtype to bfloat16, take a larger GPU, or serve it on several with vLLM (serving.pod.gpus).",
        ) from error


def _require_supported(model: PreTrainedModel) -> None:
    """Raise UserError when this engine would compute something else than the model's own forward pass.

    Attention is replaced by ours, and architectures differ in what they pass to it; a wrong answer would be silent.
    """
    name, noted = type(model).__name__, _note_of_check(model)
    if noted.exists():
        return
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        raise UserError(f"{name} has layers other than full attention (sliding windows or states)", OTHER_ENGINES)
    try:
        difference = _difference_to_plain_forward(model)
    except Exception as error:
        raise UserError(
            f"{name} does not run in the embedded engine: {type(error).__name__}: {error}", OTHER_ENGINES
        ) from error
    # Rounding is far below these; a prefix or a mask that is ignored is far above.
    limit = 0.1 if model.dtype == torch.bfloat16 else 1e-3
    if not difference < limit:
        raise UserError(
            f"{name} gives other logits in the embedded engine: relative difference {difference:.2g}, limit {limit:g}",
            OTHER_ENGINES,
        )
    with suppress(OSError):  # a disk that is full or not ours to write on: the next start checks again
        noted.parent.mkdir(parents=True, exist_ok=True)
        noted.touch()


def _note_of_check(model: PreTrainedModel) -> Path:
    """Is there where this machine found that such models run here: a run starts ten servers of one configuration.

    Such: of the same class, configuration, layers (packed or not), precision and device, with these libraries and this
    code of the engine.
    """
    config = {name: value for name, value in model.config.to_dict().items() if name != "_name_or_path"}
    code = [file_hash(Path(file)) for file in (forward.__file__, kv_cache.__file__, packed.__file__, __file__)]
    versions = [torch.__version__, transformers.__version__, platform.machine()]
    such = [
        type(model).__name__,
        str(model.dtype),
        model.device.type,
        *sorted({type(module).__name__ for module in model.modules()}),
        *versions,
        *code,
        *sorted(map(repr, config.items())),
    ]
    return home() / "engine-checks" / content_hash(such)


@torch.inference_mode()
def _difference_to_plain_forward(model: PreTrainedModel) -> float:
    """Relative difference of the logits of two prompts that share a prefix, against the model's own forward pass."""
    vocabulary = model.config.get_text_config().vocab_size
    shared = tuple((7 * i + 1) % vocabulary for i in range(32))
    endings = [tuple((5 * i + end) % vocabulary for i in range(8 + end)) for end in (0, 3)]
    prompts = [torch.tensor([shared + ending], device=model.device) for ending in endings]
    plain = torch.stack([own_forward(model, input_ids=prompt).logits[0, -1].float() for prompt in prompts])
    implementation = model.config._attn_implementation
    # As the engine does it: the shared prefix once, each ending up to its last token, then one step of both together.
    engine = Forward(model, Metrics())
    prefix = engine.empty_prefix.extended(shared, engine.prefill([shared], engine.empty_prefix))
    own = engine.prefill([ending[:-1] for ending in endings], prefix)
    cache = DecodeCache(own, [len(ending) - 1 for ending in endings])
    positions = [len(shared) + len(ending) - 1 for ending in endings]
    logits = engine.next_logits([ending[-1] for ending in endings], positions, prefix, cache).float()
    model.set_attn_implementation(implementation)
    return float((logits - plain).norm() / plain.norm())
