"""A chat template is a program of whoever published the model: it is tried with bounds of time and memory (issue 16).

Jinja's sandbox keeps it from files and from Python; nothing there keeps it from counting to a trillion.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from components.base_model.chat import ONE_TURN, TWO_TURNS, WITH_SYSTEM
from components.core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECONDS, MEMORY = 20.0, 2 * 1024**3  # a real one takes milliseconds and kilobytes


def require_bounded(tokenizer: PreTrainedTokenizerBase, model: str) -> None:
    """Raises UserError where the template of `model` does not come to an end with a few short messages."""
    trial = multiprocessing.get_context("fork").Process(target=_render, args=(tokenizer,), daemon=True)
    trial.start()
    trial.join(SECONDS)
    if trial.exitcode == 0:
        return
    why = f"does not come to an end within {SECONDS:g} s" if trial.exitcode is None else "takes too much memory"
    trial.kill()
    trial.join()
    raise UserError(
        f"the chat template of {model} {why}",
        "Look at its chat_template before you trust this model, or give another one in model.chat_template.",
    )


def _render(tokenizer: PreTrainedTokenizerBase) -> None:
    """In a process of its own; what else is wrong with the template is for others to say."""
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    try:
        for messages in (ONE_TURN, TWO_TURNS, WITH_SYSTEM):
            with suppress(TemplateError, TypeError, ValueError, KeyError):
                tokenizer.apply_chat_template(messages, tokenize=False)
    except MemoryError:
        os._exit(1)
    os._exit(0)
