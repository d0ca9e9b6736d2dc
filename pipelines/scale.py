"""What a recipe asks of its GPUs, as tables: `python -m pipelines.scale [RECIPE ...]`.

Without a name it is the page docs/scale.md, of the shipped recipes that train on GPUs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from components.core.errors import UserError
from components.training.memory import BF16, BUSY, RESERVE, TILES, training_memory
from components.training.shape import Shape, shape_of
from pipelines.plan.checks import gpus_of
from pipelines.plan.work import (
    ANSWER,
    BANDWIDTH,
    DECODING,
    FLOPS,
    JUDGE_PROMPT,
    JUDGEMENT,
    LONGEST,
    NETWORK,
    NVLINK,
    PROMPT,
    UTILISATION,
    generation_hours,
    generation_tokens,
    gpu_memory,
    trainings,
)
from pipelines.recipe import Recipe, load_recipe, shipped_recipes

GB = 1e9
PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "adam": "Adam",
    "gathered": "copies in bf16",
    "activations": "activations",
}
PAGE = f"""# What the big recipes ask of their GPUs

Written by `python -m pipelines.scale`, from the recipes; `python -m pipelines.scale my-recipe.yaml` does the same for
yours, where the model is a folder with its `config.json` or one that is named in `components/training/shape.py`. A
recipe that says what its GPUs have (`resources.gpu_memory`, `serving.pod.gpu_memory`) is refused when it is read where
one example does not fit {1 - RESERVE:.0%} of that, as it is where batch and GPUs do not fit each other, or lengths do
not fit the server's context.

**Memory** of one GPU, for N weights on G GPUs (FSDP spreads them; with `sharding: none` G is 1), in bytes:

| part | all weights | LoRA with A adapter weights |
|---|---|---|
| weights | 4 N / G (fp32) | (2 N + 4 A) / G (frozen in bf16) |
| gradients | 4 N / G | 4 A / G |
| Adam | 8 N / G (two moments) | 8 A / G |
| copies in bf16 | 2 (two layers and the embeddings); 2 N without FSDP | the same; 0 without FSDP |
| activations, kept | T L (36 h + 4 k + 8 i) + 4 V h | the same without 4 V h |
| activations, computed again | T (4 L h + 36 h + 4 k + 8 i) + 4 V h | the same without 4 V h |

T are the tokens that a GPU computes with at once; L layers of width h, inner width i, keys of width k, V words. A GPU
takes as many of a step's examples at once as its memory holds by this sum, the longest first, without padding; it
keeps their activations where that leaves it {BUSY:,} tokens or more at once, else they are computed again in the
backward pass (`gradient_checkpointing`). Logits are never held: TRL makes log-probabilities in tiles of
{TILES / GB:.1f} GB.

**Hours** are estimates, good to a factor of two, without loading, storing and evaluation. They assume

* {PROMPT} tokens a prompt, {ANSWER} an answer, {JUDGE_PROMPT} the judge prompt, {JUDGEMENT} a judgement, and in each
  step one text {LONGEST:g} times as long as the mean;
* {FLOPS / 1e12:.0f} TFLOP/s in bf16, of which training ([seen](gpu.md)) and reading use {UTILISATION:.0%}, and
  {BANDWIDTH / 1e12:.2f} TB/s of memory, of which writing uses {DECODING:.0%} (an H100);
* {NVLINK / GB:.0f} GB/s between the GPUs of a node and {NETWORK / GB:.0f} GB/s between nodes.

A step takes as long as the slower of two: its operations (6 N a token, LoRA 4 N, 2 N more where activations are
computed again, and for a pair's reference), or the weights' way between the GPUs (2 N bytes gathered for each pass, 4 N
of gradients scattered). DPO's reference is asked before the first step, and its memory is free again by then; trainings
that share model and pairs ask it once.
"""


def big_recipes() -> list[str]:
    """Shipped recipes that train on GPUs."""
    return [name for name in shipped_recipes() if load_recipe(name).resources.gpus]


def page() -> str:
    """docs/scale.md."""
    return "\n".join([PAGE, *(plan(load_recipe(name)) for name in big_recipes())])


def plan(recipe: Recipe) -> str:
    """The tables of one recipe; raises UserError where its model's size is not known."""
    shape = shape_of(recipe.model.base)
    if shape is None:
        raise UserError(
            f"the size of {recipe.model.base} is not known",
            "Name a folder with the model's config.json in model.base, or add it to components/training/shape.py.",
        )
    return "\n".join([f"## {recipe.name}", "", _summary(recipe, shape), "", *_table(recipe, shape), ""])


def _summary(recipe: Recipe, shape: Shape) -> str:
    """The model, the GPUs, and what the rounds add to the trainings."""
    pods, server, rounds = recipe.resources, recipe.serving, recipe.rounds
    served_on = max(1, server.pod.gpus)
    read, written = (tokens / 1e6 for tokens in generation_tokens(recipe))
    training = sum(one.hours(shape, pods.nodes, pods.gpus, gpu_memory(recipe)) for one in trainings(recipe))
    generating = generation_hours(recipe, shape)
    size = f" of {pods.gpu_memory}" if pods.gpu_memory else ""
    return "\n".join(
        [
            f"* `{recipe.model.base}`: {shape.parameters / 1e9:.2f} billion weights, "
            f"{'adapters' if recipe.dpo.lora else 'all of them'} trained",
            f"* on {gpus_of(recipe)} GPUs{size} (nodes x GPUs: {pods.nodes} x {max(1, pods.gpus)})",
            f"* served on {server.replicas} x {served_on} GPUs, {BF16 * shape.parameters / served_on / GB:.1f} GB of "
            "weights on each",
            f"* a round reads {read:.0f} and writes {written:.0f} million tokens of candidates and judgements: "
            f"{generating:.1f} hours",
            f"* all trainings: {training:.1f} hours; with {rounds} rounds: {training + rounds * generating:.1f} hours",
        ]
    )


def _table(recipe: Recipe, shape: Shape) -> list[str]:
    pods, ranks, columns = recipe.resources, gpus_of(recipe), []
    for one in trainings(recipe):
        settings, pairs = one.settings, one.texts == 2
        held = one.held(shape, ranks, gpu_memory(recipe))
        memory = training_memory(shape, settings, ranks, pairs, held)
        columns.append(
            [
                one.name,
                f"up to {one.examples:,} pairs" if pairs else f"{one.examples:,} examples",
                f"{settings.batch_size} = {settings.batch_size // ranks} x {ranks}",
                f"{held.tokens:,}, {'computed again' if held.checkpointing else 'kept'}",
                f"{one.steps:,}",
                f"{one.total_tokens / 1e6:.1f} million",
                f"{one.hours(shape, pods.nodes, pods.gpus, gpu_memory(recipe)):.2f}",
                *(f"{getattr(memory, part) / GB:.1f}" for part in [*PARTS, "total"]),
            ]
        )
    labels = ["", "from", "batch = examples x GPUs", "tokens at once, activations", "steps", "tokens", "hours"]
    labels += [f"GB a GPU: {part}" for part in [*PARTS.values(), "sum"]]
    rows = list(zip(labels, *columns, strict=True))
    rows.insert(1, ("---",) * len(rows[0]))
    return [f"| {' | '.join(cells)} |" for cells in rows]


def main(names: Sequence[str]) -> int:
    """Exit code 2 after a UserError."""
    try:
        print("\n".join(plan(load_recipe(name)) for name in names) if names else page(), end="")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
