"""`srlm export` and `srlm chat`: a registered model as files of one's own, or talked to."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.core.errors import UserError
from components.core.progress import visible
from components.core.records import Messages
from pipelines.cli.options import Debug, Overrides, Store, TrackingUri, console

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

commands = typer.Typer()
Model = Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a stage's URI.")]


@commands.command()
def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Is made; a plain Hugging Face folder (safetensors, tokenizer).")],
    store: Store = "",
    tracking_uri: TrackingUri = "",
    debug: Debug = False,
) -> None:
    """Write a model's files to a folder.

    Example: srlm export models:/demo@champion ./champion
    """
    if folder.exists():
        raise UserError(f"{folder} is there already", "Name a folder that is not.")
    from components.core.model_files import model_folder
    from components.registry.references import resolve
    from pipelines.local.beforehand import check_model
    from pipelines.local.run import RunOptions, looked_up, servers

    options = RunOptions(store, tracking_uri)
    check_model(model, options)
    with servers(looked_up(options), console) as addresses:
        files = model_folder(resolve(addresses["tracking_uri"], model).stage)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as draft:
            shutil.copytree(files, Path(draft) / "model").rename(folder)
    console.print(f"wrote {folder}", markup=False, highlight=False, soft_wrap=True)


@commands.command()
def chat(
    model: Model,
    overrides: Overrides = [],  # noqa: B006  typer wants a list and does not change it
    recipe: Annotated[str, typer.Option(help="Whose serving and sampling count; default: that which made it.")] = "",
    system: Annotated[str, typer.Option(help="A system message, before the first.")] = "",
    store: Store = "",
    tracking_uri: TrackingUri = "",
    debug: Debug = False,
) -> None:
    """Talk to a model on this machine, a line a message. An empty line begins anew, Ctrl-D ends.

    Example: srlm chat models:/demo@champion --set sampling.temperature=0
    """
    from components.registry.references import resolve
    from components.serving.engines.processes import EmbeddedEngine
    from pipelines.local.beforehand import check_model, check_overrides
    from pipelines.local.run import RunOptions, looked_up, new_run, servers
    from pipelines.recipe import recipe_of

    os.environ["SRLM_OWNER_PID"] = str(os.getpid())  # the server ends when this process does, however
    options = RunOptions(store, tracking_uri)
    check_model(model, options)
    check_overrides(overrides)
    with servers(looked_up(options), console) as addresses:
        named = resolve(addresses["tracking_uri"], model)
        settings = recipe_of(addresses["store"], named, recipe, overrides)
        run, engine = new_run("chat"), EmbeddedEngine()
        try:
            url = engine.start(run, "model", named.stage, settings.serving)
            asyncio.run(_talk(url, settings, [{"role": "system", "content": system}] if system else []))
        finally:
            engine.stop(run)


async def _talk(url: str, recipe: Recipe, opening: Messages) -> None:
    """Answers each line of the standard input, in a conversation that an empty one ends."""
    from components.serving.client import Client, Request

    client, messages, number = Client(url), list(opening), 0
    try:
        for line in _lines():
            if not line:
                messages = list(opening)
                continue
            messages.append({"role": "user", "content": line})
            number += 1
            sampling = recipe.sampling.sampling()
            with console.status("..."):
                answer = await client.complete(Request(str(number), messages, sampling, recipe.seed + number))
            messages.append({"role": "assistant", "content": answer.text})
            end = "" if answer.finish_reason == "stop" else f" [{answer.finish_reason}]"
            console.print(visible(answer.text) + end, markup=False, highlight=False, soft_wrap=True)
    finally:
        await client.close()


def _lines() -> Iterator[str]:
    """Of a terminal with a prompt, of a pipe without."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
