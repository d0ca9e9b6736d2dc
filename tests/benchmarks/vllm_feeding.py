"""Feeding real vLLM: answers a second that `complete` gets out of it, beside the most that `vllm bench serve` gets with
any number of requests in flight. Both ask the same server the same prompts for answers of the same lengths, in turn.

Real vLLM on this machine's CPUs (SRLM_TEST_VLLM or .venv-vllm); without it, and when quick, there is no row.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np

from components.serving.client import Request
from tests.benchmarks.feeding import SETTINGS, ours
from tests.benchmarks.row import Row
from tests.benchmarks.small_model import make_small_model
from tests.helpers.engine_servers import ON_CPU, VENV, VLLM, await_health, started

NUMBER = 400
IN_FLIGHT = (32, 64, 128)
NAME = "m"
# What `vllm bench serve` does, for several numbers in one process: the command itself asks for the version of a package
# `vllm`, which the one for CPUs is not.
BENCH = """
import sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
add_cli_args(parser := FlexibleArgumentParser())
for number in sys.argv[1].split(","):
    main(parser.parse_args([*sys.argv[2:], "--max-concurrency", number, "--result-filename", number]))
"""


def requests(number: int) -> list[Request]:
    """Prompts of 20 to 90 letters, each a token of its own, whose answers have 16 to 64 tokens."""
    draw = np.random.default_rng(0)

    def one(n: int) -> Request:
        text = bytes(draw.integers(97, 123, draw.integers(20, 91)).tolist()).decode()
        sampling = replace(SETTINGS.sampling(()), max_tokens=int(draw.integers(16, 65)))
        return Request(str(n), [{"role": "user", "content": text}], sampling, n)

    return [one(n) for n in range(number)]


def conversations(asked: list[Request]) -> list[dict[str, list[dict[str, str]]]]:
    """The same in ShareGPT's form: vLLM's benchmark takes the prompt, and as many tokens as the answer there has."""
    return [
        {"conversations": [{"value": request.messages[0]["content"]}, {"value": "a" * request.max_tokens}]}
        for request in asked
    ]


def by_complete(url: str, asked: list[Request]) -> float:
    """Answers a second, from before the first request until after the last answer."""
    begun = time.perf_counter()
    return len(asked) / (ours([url], asked)[-1] - begun)


def by_bench(url: str, model: Path, asked: list[Request], in_flight: tuple[int, ...], folder: Path) -> dict[int, float]:
    """The same as vLLM's benchmark tells it, by requests in flight. Raises AssertionError where a request failed."""
    (data := folder / "asked.json").write_text(json.dumps(conversations(asked)))
    sampling = asked[0].sampling
    arguments = (
        f"--backend openai-chat --endpoint /v1/chat/completions --base-url {url} --model {model} "
        f"--served-model-name {NAME} --temperature {sampling.temperature} --top-p {sampling.top_p} "
        f"--dataset-name sharegpt --dataset-path {data} --disable-shuffle --num-prompts {len(asked)} "
        f"--disable-tqdm --save-result --result-dir {folder}"
    )
    command = [VENV / "bin" / "python", "-c", BENCH, ",".join(map(str, in_flight)), *arguments.split()]
    with (log := folder / "bench.log").open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
    assert code == 0, log.read_text(errors="replace")[-3000:]
    results = {number: json.loads((folder / str(number)).read_text()) for number in in_flight}
    assert all(result["completed"] == len(asked) for result in results.values()), results
    return {number: result["request_throughput"] for number, result in results.items()}


def tokens(url: str) -> float:
    """That the server has written since it began."""
    lines = httpx2.get(f"{url}/metrics", trust_env=False).text.splitlines()
    (line,) = (line for line in lines if line.startswith("vllm:generation_tokens_total{"))
    return float(line.split()[-1])


def rows(quick: bool) -> list[Row]:
    """The better of two, in turn. Raises AssertionError where one of the ways gets more or fewer tokens."""
    if quick or not (VENV / "bin" / "python").exists():
        return []
    asked = requests(NUMBER)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, log = make_small_model(folder / "model"), folder / "log"
        # Each prompt comes several times, and is to be read each time.
        command = f"{VLLM} --model {model} --served-model-name {NAME} --max-model-len 512 --no-enable-prefix-caching"
        with started(f"{command} {ON_CPU}", log) as url:
            await_health(url, log)
            theirs = by_bench(url, model, asked, IN_FLIGHT, folder)
            best = max(theirs, key=lambda number: theirs[number])
            counts, speeds = [tokens(url)], [by_complete(url, asked)]
            counts.append(tokens(url))
            again = by_bench(url, model, asked, (best,), folder)[best]
            counts.append(tokens(url))
            speeds.append(by_complete(url, asked))
    written = np.diff(counts)
    assert abs(written[0] / written[1] - 1) < 0.02, written
    other = (f"vllm bench serve, {best} in flight", max(again, theirs[best]))
    note = f"{NUMBER} requests, from the first until the last answer; the better of two in turn"
    return [Row("feeding vLLM", "answers/s", max(speeds), *other, of_other=0.9, note=note)]
