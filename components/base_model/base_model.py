"""Bring M0 into the store once: safetensors, tokenizer, chat template. Everything later is keyed on its digest."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.base_model.bounded import require_bounded
from components.base_model.chat import chat_problem, end_ids_of_files, thought_form, with_arguments, with_roles
from components.base_model.portable import MORE_TEMPLATES, make_portable
from components.base_model.settings import BaseModelSettings
from components.base_model.sources import SMOLLM2, fetch, identify, smollm2_gguf
from components.core.claims import only_maker
from components.core.context import open_step
from components.core.errors import UserError
from components.core.model_files import prime_model_cache
from components.core.progress import say
from components.core.records import ChatProblem, Counts, Manifest, Parent
from components.core.scratch import scratch_folder
from components.core.stage import Stage, find_manifest, read_records

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
# Endings of files that are code, or pickles of one kind or another, which run code when they are read.
CODE = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras", ".py", ".so"}
# Names in the run's journal, and the sections of the recipe.
MODELS = {"base": ("m0", "model"), "writer": ("writer", "writer"), "annotator": ("annotator", "annotator")}


def import_all(state: dict[str, Any], roles: Sequence[str]) -> dict[str, Any]:
    """The run's state (RunState as a KFP parameter) with the URIs of these models among its data.

    `roles` are base (M0), writer and annotator; M0 is also what the recipe names no other model for.
    """
    with open_step(state["run"], "import models") as context:
        models: dict[str, str] = {}
        for role in roles:
            name, section = MODELS[role]
            settings = context.optional(section, BaseModelSettings)
            if settings is None and "base" in models:
                models[role] = models["base"]
                continue
            settings = settings or context.section("model", BaseModelSettings)
            trained, sampling = role == "base", context.recipe.get("sampling", {})
            thinks = trained and sampling.get("reasoning") == "keep"
            make = partial(import_model, context.store, settings, trained, thinks)
            models[role] = context.make(f"{name}/base-model", make)
        return {**state, "data": {**state["data"], **models}}


def import_model(root: str, settings: BaseModelSettings, trained: bool = True, thinks: bool = False) -> Manifest:
    """The base_model stage; raises UserError for a model without a chat template.

    One that is to be `trained` is refused, too, where its template makes another text for training than for serving.
    Others only answer: for them that is no more than a record of the stage. One that `thinks` is trained on its
    thoughts, too: they count for its template.
    """
    source = identify(settings)
    own = settings.model_copy(update={"base": "", "revision": None})  # the digest says what it is, not its name
    stage = Stage(root, "base_model", own, {"source": source})
    if not stage.manifest:
        with only_maker(stage.store, lambda: find_manifest(stage.uri) is not None, f"imports {settings.base}"):
            stage.manifest = find_manifest(stage.uri) or _import(stage, settings, source, trained and not thinks)
    if thinks:
        _require_thoughts(settings.base, stage)
    elif trained:
        require_one_text(settings.base, read_records(stage.uri, "chat", ChatProblem))
    return stage.manifest


def _import(stage: Stage, settings: BaseModelSettings, source: Parent, one_text: bool) -> Manifest:
    """Publish the model; raises UserError before, where `one_text` is asked for and its template makes two."""
    with scratch_folder() as scratch:
        folder = scratch / "model"
        say(f"importing {settings.base}")
        if settings.base == SMOLLM2:
            _convert_gguf(smollm2_gguf(), folder)
        else:
            _copy(fetch(settings, source.digest, scratch), folder)
        problems = set_up_chat(folder, settings)
        if one_text:
            require_one_text(settings.base, problems)
        counts = Counts(kept={"parameters": _count_parameters(folder)})
        manifest = stage.publish(counts, {"chat": problems} if problems else {}, folder=folder)
        prime_model_cache(stage.uri, folder)
        return manifest


def _convert_gguf(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with _gguf_read_once():
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            # save_pretrained refuses a model that does not say it was dequantised
            quantization_config=GgufConfig(dequantize=True),
        )
        model.save_pretrained(folder, safe_serialization=True)
        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """transformers reads the file thrice and makes the same table of names for each part of the model: of 15 s that an
    import took, 10."""
    import gguf

    kept = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, slow in kept.items():
        setattr(gguf, name, cache(slow))
    try:
        yield
    finally:
        for name, slow in kept.items():
            setattr(gguf, name, slow)


def _copy(source: Path, folder: Path) -> None:
    """The files without what can run code, and without what Mistral's own readers take: the weights once more."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        mistral = path.match("consolidated*") or path.name == "params.json"
        if path.is_file() and path.suffix.lower() not in CODE and not mistral:
            shutil.copyfile(path, folder / path.name)
    if (source / MORE_TEMPLATES).is_dir():
        shutil.copytree(source / MORE_TEMPLATES, folder / MORE_TEMPLATES)


def set_up_chat(folder: Path, settings: BaseModelSettings) -> list[ChatProblem]:
    """Give the model its chat template and what old readers need; returns what speaks against training with it:
    nothing, or one problem.

    Raises UserError without a template, before anything is trained.
    """
    from transformers import AutoTokenizer

    bare = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if template := settings.chat_template or bare.chat_template:
        bare.chat_template = with_arguments(template, settings.chat_template_kwargs)
        require_bounded(bare, settings.base)
        bare.chat_template = with_roles(bare)
    make_portable(folder, bare)
    tokenizer = load_tokenizer(folder)
    problem = chat_problem(tokenizer, end_ids_of_files(folder, tokenizer))
    return [ChatProblem(id="chat", problem=problem)] if problem else []


def require_one_text(base: str, problems: Sequence[ChatProblem]) -> None:
    """Raises UserError where a model would be trained on another text than it is asked with."""
    if problems:
        raise UserError(
            f"what {base} would be trained on is not what it would be asked: {problems[0].problem}",
            "Give model.chat_template_kwargs (Qwen3: {enable_thinking: false}), or in model.chat_template a template "
            "whose prompt goes on with the answer alone and a token at which the model stops. A model that is to think "
            "is trained on its thoughts, too, with sampling.reasoning: keep.",
        )


def _require_thoughts(base: str, stage: Stage) -> None:
    """Raises UserError where the stored template does not train on a thought as it is sampled."""
    files = stage.manifest.files if stage.manifest else {}
    with scratch_folder() as folder:
        for name in files:
            if "/" in name and not name.endswith(".safetensors"):
                (folder / Path(name).name).write_bytes(stage.store.read(name) or b"")
        tokenizer = load_tokenizer(folder)
        form = thought_form(tokenizer)
        problem = (
            chat_problem(tokenizer, end_ids_of_files(folder, tokenizer), form)
            if form
            else ("it neither takes reasoning_content with an answer nor leaves <think>...</think> in its text")
        )
    if problem:
        raise UserError(
            f"the chat template of {base} cannot train on thoughts as they are sampled: {problem}",
            "Set sampling.reasoning to strip (answers alone are trained on), or give in model.chat_template one that "
            "shows message.reasoning_content of the last answer and whose prompt goes on with it.",
        )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's folder, with its chat template; raises UserError without one."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.chat_template is None:
        raise UserError(
            f"the model in {folder} has no chat template",
            "Name an instruct model in model.base, or give a Jinja chat template's text in model.chat_template.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _count_parameters(folder: Path) -> int:
    from safetensors import SafetensorError, safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, framework="pt") as weights:
                total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118  no mapping
        except (SafetensorError, OSError) as error:  # OSError: an empty file cannot be mapped
            raise UserError(
                f"{path.name} is no safetensors file: {error}", "It may have been cut off: fetch it again."
            ) from error
    return total
