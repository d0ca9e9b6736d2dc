"""`python -m components.serving.embedded`: serve one model directory until told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import threading
from pathlib import Path

import torch
import uvicorn

from components.core.errors import UserError
from components.core.processes import usable_cores, watch_owner, write_ready_file
from components.serving.embedded.http.api import Served, create_app
from components.serving.embedded.http.server import bind, end_at_once_on_signals, url_of
from components.serving.embedded.model.loading import load
from components.serving.embedded.scheduler.engine import Engine, Limits

log = logging.getLogger("components.serving.embedded")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m components.serving.embedded", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="directory with config, safetensors, tokenizer")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    parser.add_argument("--model-id", help="name in /info and answers (default: the directory)")
    parser.add_argument("--model-sha", help="content hash in /info")
    parser.add_argument("--ready-file", type=Path, help='written when requests are served: {"pid", "url", "model_sha"}')
    parser.add_argument("--owner-pid", type=int, help="stop when this process is gone")
    parser.add_argument("--max-batch", type=int, default=Limits.max_batch, help="sequences decoded together")
    parser.add_argument("--max-queue", type=int, default=Limits.max_queue, help="requests that may wait")
    parser.add_argument("--max-total-tokens", type=int, default=Limits.max_total_tokens, help="prompt and answer")
    parser.add_argument(
        "--max-batch-total-tokens",
        type=int,
        default=0,
        help=f"tokens whose keys are kept (default: 0, what a GPU has free; {Limits.max_batch_total_tokens} on a CPU)",
    )
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float64"), default="auto")
    parser.add_argument("--quantize", help="int8: weights of a CPU's linear layers (default: as --dtype says)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs that must be here (default: 0, it takes what is)")
    cores = len(usable_cores())
    parser.add_argument("--threads", type=int, default=cores, help="CPU threads of the model (default: a core's each)")
    parser.add_argument("--no-sharing", action="store_true", help="read every prompt in full (to measure the gain)")
    return parser.parse_args(argv)


def serve(options: argparse.Namespace) -> int:
    """Listen, load, serve; returns the exit code: 2 for what the user can put right, 1 for the rest.

    SIGTERM and SIGINT end the process with code 0. Raises UserError when the address cannot be had.
    """
    torch.set_num_threads(options.threads)
    end_at_once_on_signals()
    if options.owner_pid:
        watch_owner(options.owner_pid)
    listener = bind(options.host, options.port)
    served = Served(options.model_id or str(options.model), options.model_sha)
    # Callers get a moment to receive what is finished; what is being decoded is lost.
    config = uvicorn.Config(create_app(served), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    failed: list[int] = []

    def prepare() -> None:
        try:
            served.engine = start_engine(options, served)
            log.info("serving %s at %s", served.model_id, url_of(listener))
            if options.ready_file:
                write_ready_file(options.ready_file, url_of(listener), options.model_sha)
        except UserError as error:
            log.error("%s", error)
            failed.append(2)
        except Exception:
            log.exception("the engine failed to start")
            failed.append(1)
        server.should_exit = bool(failed)

    threading.Thread(target=prepare, name="load", daemon=True).start()
    server.run(sockets=[listener])
    return failed[0] if failed else 0


def start_engine(options: argparse.Namespace, served: Served) -> Engine:
    """Load the model and start to decode. Raises UserError when the model cannot be served."""
    if (there := torch.cuda.device_count()) < options.gpus:
        raise UserError(
            f"the recipe asks for {options.gpus} GPUs (serving.pod.gpus) and torch sees {there} on {platform.node()}",
            f"Set serving.pod.gpus to {there}, or see (nvidia-smi) why they are not there: the node's driver, its "
            "device plugin, serving.pod.gpu_type.",
        )
    log.info("loading %s", options.model)
    loaded = load(options.model, options.dtype, options.quantize)
    longest: int | None = getattr(loaded.model.config, "max_position_embeddings", None)
    total = min(options.max_total_tokens, longest or options.max_total_tokens)
    if total < options.max_total_tokens:
        log.info("texts end at %d tokens, which the model was made for, not at %d", total, options.max_total_tokens)
    limits = Limits(
        max_batch=options.max_batch,
        max_queue=options.max_queue,
        max_total_tokens=total,
        max_batch_total_tokens=options.max_batch_total_tokens,
        sharing=not options.no_sharing,
    )
    engine = Engine(loaded, limits, served.metrics)
    engine.start()
    return engine


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return serve(arguments())
    except UserError as error:
        log.error("%s", error)
        return 2


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Threads that still compute must not delay the end, nor crash an interpreter that is being taken down.
    os._exit(code)
