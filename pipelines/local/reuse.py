"""A run whose work is all done: its steps find it in this process, and no server and no process is started for them.

They leave what they always leave: the journal, the notes of the models, summary and report (issue 15).
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console

from components.core.progress import RUN_EVENTS, EventFile
from components.core.store import open_store
from components.registry.client import registry
from components.registry.registry import is_registered
from components.run.look import LookedAt
from pipelines.forecast.look import look_at
from pipelines.graph.execution import execute_steps, with_outputs
from pipelines.local.services import REGISTRY
from pipelines.watch.outline import outline
from pipelines.watch.reading import Steps
from pipelines.watch.screen import Screen

Documents = list[dict[str, Any]]


def reuse(packages: list[Documents], parameters: Mapping[str, str], folder: Path, console: Console) -> bool:
    """Run a recipe whose stages are all finished and whose models are all registered; False where they are not, and
    where anything speaks against it: then the run is to be made as ever, which also says what that is."""
    others = {name: value for name, value in parameters.items() if name not in ("store", "run")}
    try:
        looked = look_at(packages, parameters["store"], parameters["run"], others)
        if not all(one.manifest for one in looked.found.values()) or not _registered(looked):
            return False
        _find_all(packages[: max(1, looked.steps.count("finish"))], looked, parameters, folder, console)
    except (Exception, SystemExit):  # whatever it is: the run as ever meets it, too, and says it
        (folder / "events.jsonl").unlink(missing_ok=True)
        with (folder / "log.txt").open("a") as log:
            log.write(f"its stages could not be looked at beforehand:\n{traceback.format_exc()}")
        return False
    notes = [open_store(looked.uri).read(f"models/{model.alias}.json") for model in looked.models]
    return all(note and b'"version": null' not in note for note in notes)


def _registered(looked: LookedAt) -> bool:
    """Whether the registry has every model with these measurements. The local one is asked without its server."""
    if looked.tracking_uri.startswith(REGISTRY) and not Path(looked.tracking_uri.removeprefix(REGISTRY)).is_file():
        return False
    with registry(looked.tracking_uri) as client:
        return all(is_registered(client, model) for model in looked.models)


def _find_all(
    packages: list[Documents], looked: LookedAt, parameters: Mapping[str, str], folder: Path, console: Console
) -> None:
    """Every step, which finds its stages; what it prints goes to the run's log, its events to the screen."""
    events = EventFile(folder / "events.jsonl")
    before = os.environ.get(RUN_EVENTS)
    os.environ[RUN_EVENTS] = str((folder / "events.jsonl").absolute())
    steps, screen = Steps(), Screen(console, folder.name, outline(documents[0] for documents in packages))
    with (folder / "log.txt").open("a") as log, screen:

        def find(name: str, make: Callable[..., Any], inputs: dict[str, Any]) -> Any:
            with redirect_stdout(log), redirect_stderr(log):
                made = make(**with_outputs(make, inputs, folder / "kfp" / name))
            for event in events.new():
                steps.add(event)
                screen.update(steps.courses())
            return made

        try:
            for documents in packages:
                execute_steps(documents[0], documents[0]["root"], dict(parameters), find)
        finally:
            os.environ.pop(RUN_EVENTS) if before is None else os.environ.update({RUN_EVENTS: before})
