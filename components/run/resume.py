"""A run with more rounds than one Kubeflow run can hold goes on in the next one, under the same name."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from components.core.context import open_step
from components.core.errors import UserError
from components.core.journal import read_journal
from components.core.progress import say


def hand_over_run(run: str, part: int) -> None:
    """Submit the next part; `run` is the run's folder. Without Kubeflow whoever executes this part goes on by itself.

    By the command of this image: components know nothing of pipelines. Raises UserError where it fails.
    """
    with open_step(run, f"hand over to part {part}") as context:
        if not os.environ.get("KFP_POD_NAME"):
            say(f"part {part} of {context.run} goes on with the rounds that are left")
            return
        command = [sys.executable, "-m", "pipelines.cli.main", "continue", run, "--part", str(part)]
        if subprocess.run(command).returncode:
            raise UserError(
                f"part {part} of the run {context.run} was not started",
                f"Its reason stands above. What is finished is kept: start it with srlm continue {run} --part {part}.",
            )


def resume_run(state: dict[str, Any], name: str) -> dict[str, Any]:
    """The run's state after the phase of the model `name`. Raises UserError where no part of it got that far."""
    with open_step(state["run"], f"find {name.upper()}") as context:
        for entry in read_journal(context.store, context.run, "states"):
            if entry["name"] == name:
                return {**entry, "data": state["data"]}
        raise UserError(f"the run {context.run} has not made {name.upper()} yet", "Run its earlier part first.")
