"""`srlm init`: a recipe of one's own, which says only what differs from another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.core.errors import UserError
from components.core.local_files import write_whole
from pipelines.cli.options import Debug, console

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

commands = typer.Typer()


@commands.command()
def init(
    name: Annotated[str, typer.Argument(help="Of the recipe and its registered model: small letters, digits and -.")],
    extends: Annotated[str, typer.Option(help="The recipe to start from.")] = "demo",
    debug: Debug = False,
) -> None:
    """Write NAME.yaml, a recipe of your own that says only what differs from another.

    Example: srlm init mine --extends llama3-8b
    """
    from pipelines.recipe import load_recipe

    path = Path(f"{name}.yaml")
    recipe = load_recipe(extends, [f"name={name}"])  # mistakes in both are told before anything is written
    if path.exists():
        raise UserError(f"{path} is there already", "Give another name, or remove it.")
    write_whole(path, own_recipe(extends, recipe))
    told = f"wrote {path}; srlm check {path} says whether it would run, srlm run {path} runs it"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def own_recipe(extends: str, recipe: Recipe) -> str:
    """A file that changes nothing but the name; what people change first stands there as comments."""
    return f"""\
# What differs from {extends}; all else is as it is there. Take # away to change one. docs/settings.md has all.
extends: {extends}
name: {recipe.name} # also the registered model's

# model:
#   base: {recipe.model.base} # or a folder with safetensors, or a hub id (organisation/model)
# data:
#   messages: {recipe.data.messages} # or a file of people's ranked replies; docs/your-own.md has the form of its rows
# rounds: {recipe.rounds} # M1 -> M2 -> M3
# prompts:
#   count: {recipe.prompts.count} # new ones, a round
# sampling:
#   candidates: {recipe.sampling.candidates} # answers to each
# judging:
#   samples: {recipe.judging.samples} # judgements of each answer
# sft:
#   learning_rate: {recipe.sft.learning_rate}
# dpo:
#   learning_rate: {recipe.dpo.learning_rate}
"""
