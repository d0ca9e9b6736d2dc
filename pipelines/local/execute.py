"""Execute a compiled pipeline with kfp.local: `python -m pipelines.local.execute pipeline.yaml '{"store": ...}'`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import yaml

from components.core.processes import alive
from components.core.store import home


def execute(compiled: str, parameters: dict[str, str]) -> None:
    """Run every step in this environment; raises RuntimeError when one fails."""
    from kfp import components, local

    outputs = Path(compiled).parent / "kfp"
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(outputs))
    components.load_component_from_text(without_retries(compiled))(**parameters)


def without_retries(compiled: str) -> str:
    """The compiled pipeline, each of whose steps is tried once: here no pod is lost, and kfp.local would try again
    whatever the failure, for minutes."""
    documents = list(yaml.load_all(Path(compiled).read_text(), Loader=yaml.CSafeLoader))
    for component in (documents[0]["root"], *documents[0]["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper)


def end_with_owner() -> None:
    """End this process and its step once `srlm run` is gone: a user who killed it wants nothing to go on."""
    owner = int(os.environ.get("SRLM_OWNER_PID", "0"))

    def watch() -> None:
        while alive(owner):
            time.sleep(0.5)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    if owner:
        threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    os.environ.setdefault("SRLM_HOME", str(home()))
    end_with_owner()
    try:
        execute(sys.argv[1], json.loads(sys.argv[2]))
    except RuntimeError as error:  # kfp.local names the failed step; why it failed stands above in its own output
        sys.exit(str(error))
