"""The whole loop as small as it can be: M0, M1 and M2 of a tiny random model that is trained for real, while a gateway
answers, judges and compares in its place. What it makes is worth nothing, how it is made is the same as ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from components.core import store as store_module
from components.core.journal import read_journal
from components.serving.address import ANNOTATOR_KEY, ENDPOINT_KEY, JUDGE_KEY
from pipelines.local.run import RunOptions, run_recipe
from pipelines.recipe import Recipe, load_recipe
from tests.helpers.gateway import ANNOTATOR, JUDGE, Gateway
from tests.helpers.tiny_model import make_tiny_model

KEYS = {ENDPOINT_KEY: "key-of-policy", JUDGE_KEY: "key-of-judge", ANNOTATOR_KEY: "key-of-annotator"}
RUN, PROMPTS = "tiny", 10
MAKERS = ("base-model", "sft", "dpo")  # stages that make a model
SETTINGS = (
    *("name=tiny", "rounds=1", "data.ift=8", "data.eft_prompts=4", "data.eval_prompts=6", "eft.min_examples=8"),
    *("sft.baseline=true", "sft.lora=null", "sft.batch_size=8", "sft.micro_batch_size=8", "sft.max_length=2048"),
    *("annotation.head_to_head=true", "instructions.count=null"),
    *(f"prompts.count={PROMPTS}", "prompts.wave=10", "sampling.candidates=4", "judging.samples=2"),
    *("dpo.lora=null", "dpo.batch_size=4", "dpo.epochs=1", "dpo.min_held_out=1", "pairs.min_pairs=2"),
    # a random judge would be stopped
    "gate.floors={parse_rate: 0, pairwise_accuracy: 0, score_entropy: 0, net_win: -1, round_parse_rate: 0}",
    "gate.regress={lc_win_rate: 1, pairwise_accuracy: 1, parse_rate: 1}",
)


def gateway(store: str, *more: str) -> Gateway:
    """One with judge, annotator and every model that the run, and `more` runs, have made so far, called by its
    digest."""

    def made() -> list[str]:
        stages = [entry for run in (RUN, *more) for entry in read_journal(store, run, "stages")]
        return [f"tiny/{one['digest']}" for one in stages if one["name"].rpartition("/")[2] in MAKERS]

    keys = {JUDGE: KEYS[JUDGE_KEY], ANNOTATOR: KEYS[ANNOTATOR_KEY]}
    return Gateway(keys, made, KEYS[ENDPOINT_KEY])


def tiny_options(store: str, tracking_uri: str, url: str, judge: str = JUDGE) -> RunOptions:
    """Of a run that asks the gateway at `url`; without a `judge` the policy judges itself."""
    judges = {"judge_model": judge, "annotator_model": ANNOTATOR}
    return RunOptions(store, tracking_uri, "endpoint", url, url if judge else "", f"{url}/v1", **judges)


def tiny_recipe(folder: Path, *changes: str) -> Recipe:
    """Of a model in that folder, which is made where there is none."""
    base = folder / "model"
    if not base.exists():
        make_tiny_model(base)
    return load_recipe("demo", [*SETTINGS, f"model.base={base}", *changes])


def run_tiny_loop(folder: Path, options: RunOptions, *changes: str) -> dict[str, Any]:
    """The summary. The environment has the keys and names the store's server."""
    return run_recipe(tiny_recipe(folder, *changes), options, Console(quiet=True), run=RUN)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The keys and these, of this process and of the run's: the gateway, too, reads the store."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in (KEYS | dict(variables)).items():
            patch.setenv(name, value)
        store_module._s3.cache_clear()
        yield
    store_module._s3.cache_clear()
