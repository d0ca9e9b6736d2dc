"""Feeding real vLLM: answers a second that `complete` gets out of it, beside the most that `vllm bench serve` gets with
any number of requests in flight: the same prompts and lengths, the same server, in turn.

Real vLLM on this machine's CPUs (SRLM_TEST_VLLM or .venv-vllm); without it, and when quick, there is no row.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from components.serving.client import Request
from tests.benchmarks.engine import SIZE
from tests.benchmarks.feeding import SETTINGS, ours
from tests.benchmarks.row import Row
from tests.benchmarks.small_model import make_small_model
from tests.helpers.engine_servers import ON_CPU, VENV, VLLM, await_health, started

NUMBER = 600
IN_FLIGHT = (8, 16, 32, 64, 128)
# `vllm bench` asks for the version of a package `vllm`, which the one for CPUs is not. One process for all numbers.
BENCH = """
import sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
add_cli_args(parser := FlexibleArgumentParser())
numbers, *arguments = sys.argv[1:]
for number in numbers.split(","):
    arguments += ["--max-concurrency", number, "--result-filename", number]
    main(parser.parse_args(arguments))
"""


def requests(number: int) -> list[Request]:
    """Prompts of 20 to 90 letters, each a token, whose answers have 16 to 64 tokens."""
    draw = np.random.default_rng(0)
    made = []
    for seed in range(number):
        text = bytes(draw.integers(97, 123, draw.integers(20, 91)).tolist()).decode()
        sampling = replace(SETTINGS.sampling(()), max_tokens=int(draw.integers(16, 65)))
        made.append(Request(str(seed), [{"role": "user", "content": text}], sampling, seed))
    return made


def by_complete(url: str, asked: list[Request]) -> float:
    """Answers a second, from before the first request until after the last answer, as vLLM's own does."""
    begun = time.perf_counter()
    return len(asked) / (ours([url], asked)[-1] - begun)


def by_bench(url: str, model: Path, asked: list[Request], in_flight: tuple[int, ...], folder: Path) -> dict[int, float]:
    """Answers a second by requests in flight. Raises AssertionError where one has failed."""
    said = [
        {"conversations": [{"value": request.messages[0]["content"]}, {"value": "a" * request.max_tokens}]}
        for request in asked
    ]
    (data := folder / "asked.json").write_text(json.dumps(said))
    sampling = asked[0].sampling
    arguments = (
        f"--backend openai-chat --endpoint /v1/chat/completions --base-url {url} --model {model} --served-model-name m "
        f"--dataset-name sharegpt --dataset-path {data} --disable-shuffle --num-prompts {len(asked)} --disable-tqdm "
        f"--temperature {sampling.temperature} --top-p {sampling.top_p} --save-result --result-dir {folder}"
    )
    numbers = ",".join(map(str, in_flight))
    with (log := folder / "bench.log").open("wb") as output:
        command = [VENV / "bin" / "python", "-c", BENCH, numbers, *arguments.split(), "--extra-body", '{"seed": 0}']
        code = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
    assert code == 0, log.read_text(errors="replace")[-3000:]
    results = {number: json.loads((folder / str(number)).read_text()) for number in in_flight}
    assert {result["completed"] for result in results.values()} == {len(asked)}, results
    return {number: result["request_throughput"] for number, result in results.items()}
