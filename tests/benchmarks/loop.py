"""One round beside a plain script of what people would run instead: TRL's trainers, `generate` by 8, a regex.

Both: SFT, N answers to each prompt, K judgements of each answer, DPO. Random weights write nothing to be judged, so
what is judged and preferred are made texts, the same for both. Counted are seconds of CPU of one thread.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from components.base_model.base_model import load_tokenizer
from components.core.records import Pair, Prompt
from components.core.stage import Stage
from components.judging.judging import TextToJudge, judgements_of, mean_scores
from components.judging.settings import JudgingSettings
from components.sampling.sampling import answers_to
from components.sampling.settings import SamplingSettings
from components.serving.completions import complete
from components.serving.embedded.http.server import served_in_process
from components.serving.embedded.model.loading import load
from components.serving.embedded.scheduler.engine import Limits
from tests.benchmarks import training
from tests.benchmarks.engine import TEMPERATURE, TOP_P
from tests.benchmarks.row import Row
from tests.benchmarks.small_model import make_small_model
from tests.helpers.paths import ROOT

N, K, NEW_TOKENS = 4, 3, 48
# A byte is a token of this model: the laptop's judge prompt has as many as the paper's has of a real tokenizer's.
JUDGE_PROMPT = (ROOT / "pipelines" / "recipes" / "demo-judge-prompt.txt").read_text()
SCORE = re.compile(r"Score: (\d)")
GENERATION = {"temperature": TEMPERATURE, "top_p": TOP_P, "max_tokens": NEW_TOKENS}


def judged_texts(pairs: list[Pair]) -> list[tuple[str, str]]:
    """Prompt and answer, N of each pair's prompt."""
    return [(pair.prompt, pair.chosen[n:] if n % 2 else pair.rejected[n:]) for pair in pairs for n in range(N)]


def ours(model: Path, pairs: list[Pair], root: str) -> int:
    """How many answers and judgements there are."""
    training.trained(training.ours, "sft", model, pairs)
    judging = JudgingSettings(prompt=JUDGE_PROMPT, samples=K, **GENERATION)
    sampling = SamplingSettings(candidates=N, **GENERATION)
    prompts = [Prompt(id=pair.id, text=pair.prompt) for pair in pairs]
    texts = [TextToJudge(str(n), str(n), *text) for n, text in enumerate(judged_texts(pairs))]
    loaded, tokenizer = load(model).model, load_tokenizer(model)
    with served_in_process(loaded, tokenizer, Limits(max_total_tokens=loaded.config.max_position_embeddings)) as url:
        answers = complete(Stage(root, "sampling", sampling, {}), url, answers_to("candidates", prompts, N, sampling))
        asked = judgements_of(texts, judging, K, judging.judge_prompt())
        judgements = complete(Stage(root, "judging", judging, {}), url, asked)
    mean_scores(judgements)
    training.trained(training.ours, "dpo", model, pairs)
    return sum(1 for _ in answers) + sum(1 for _ in judgements)


def plain(model: Path, pairs: list[Pair], root: str) -> int:
    """The same by what people would run instead."""
    training.trained(training.as_it_comes, "sft", model, pairs)
    tokenizer = load_tokenizer(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    answers = _generated(loaded, tokenizer, [pair.prompt for pair in pairs for _ in range(N)])
    template = JUDGE_PROMPT.replace("{instruction}", "{0}").replace("{response}", "{1}")
    judgements = _generated(
        loaded, tokenizer, [template.format(*text) for text in judged_texts(pairs) for _ in range(K)]
    )
    for judgement in judgements:
        SCORE.findall(judgement)
    training.trained(training.as_it_comes, "dpo", model, pairs)
    return sum(1 for _ in answers) + sum(1 for _ in judgements)


@torch.inference_mode()
def _generated(model: Any, tokenizer: Any, prompts: list[str], batch: int = 8) -> list[str]:
    written: list[str] = []
    for first in range(0, len(prompts), batch):
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts[first : first + batch]]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, padding_side="left", return_tensors="pt", return_dict=True
        )
        drawn = {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0}
        ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, **drawn)
        written += tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return written


def seconds_of(run: Callable[[Path, list[Pair], str], int], model: Path, pairs: list[Pair]) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as root:
        begun = time.process_time()
        made = run(model, pairs, root)
        return time.process_time() - begun, made


def rows(quick: bool) -> list[Row]:
    """Raises AssertionError where the two did not make as much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model, pairs = make_small_model(Path(folder)), training.made_pairs(2 if quick else 32)
        seconds, made = seconds_of(ours, model, pairs)
        theirs, as_much = seconds_of(plain, model, pairs)
    torch.set_num_threads(threads)
    assert made == as_much == len(pairs) * N * (1 + K)
    note = (
        f"{len(pairs)} examples and pairs; of each {N} answers, {N * K} judgements of {NEW_TOKENS} tokens; one thread"
    )
    name = "TRL, generate by 8"
    return [Row("one round", "s of CPU", seconds, name, theirs, less_is_better=True, of_other=4, note=note)]
