"""`srlm check`: what can be known of a recipe before days of a run, by the code that the run itself executes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from components.base_model.base_model import import_model
from components.base_model.description import ModelDescription, describe_model
from components.base_model.settings import BaseModelSettings
from components.core.context import RunContext
from components.core.errors import UnreachableError, UserError
from components.core.records import Manifest
from components.core.stage import read_manifest
from components.core.store import join
from components.eft.eft import make_eft
from components.judging.trial import try_judge
from components.prompts.prompts import make_round_prompts
from components.run.lifecycle import import_data
from components.serving.address import ENDPOINT_KEY, Address
from components.serving.engines.processes import EmbeddedEngine
from components.serving.engines.served_model import ServedModel, annotator_of, judge_of
from components.training.memory import micro_batch_on_cpu, training_memory
from components.training.shape import Shape, shape_from
from pipelines.local.doctor import Finding, broken, check_server, free_disk, free_memory, ok, unknown, warning
from pipelines.local.run import RunOptions
from pipelines.plan.checks import gpus_of, mistakes
from pipelines.plan.disk import run_disk
from pipelines.recipe import Recipe, local_files, require_local_files

SMALL = 500_000_000  # weights of a model that two cores judge with in a minute or two
GB = 10**9


class _Trial(RunContext):
    """Its stages raise what a step of a run would end with, and are noted in no journal."""

    def make(self, name: str, make: Callable[[], Manifest]) -> str:
        manifest = make()
        return join(self.store, manifest.stage, manifest.key)


@dataclass
class Check:
    """A recipe and where it would run. `trial`: the model judges, whatever its size, where no endpoint is named."""

    recipe: Recipe
    options: RunOptions
    trial: bool = False
    folder: Path = field(default_factory=Path)
    texts: dict[str, str] = field(default_factory=dict)

    def examine(self) -> Iterator[tuple[str, Finding]]:
        """Every check by its name, in order; what is made on the way is removed."""
        with tempfile.TemporaryDirectory(prefix="srlm-check-") as folder, _as_a_step(Path(folder)):
            self.folder = Path(folder)
            for name, check in CHECKS.items():
                try:
                    for finding in check(self):
                        yield name, finding
                except UnreachableError as error:
                    yield name, unknown(error.problem, error.remedy)
                except UserError as error:
                    yield name, broken(error.problem, error.remedy)

    @cached_property
    def context(self) -> RunContext:
        """Of a run that keeps all it makes below `folder`."""
        where: dict[str, Any] = {"store": str(self.folder / "store"), "tracking_uri": "", "run": "check"}
        return _Trial(recipe=self.recipe.to_dict(), **vars(self.options) | where)

    @cached_property
    def model(self) -> ModelDescription:
        return describe_model(self.recipe.model, thinks=self.recipe.sampling.reasoning == "keep")

    def files(self) -> Iterator[Finding]:
        require_local_files(self.recipe)
        yield ok(f"{len(local_files(self.recipe))} files that the recipe names are there")

    def data(self) -> Iterator[Finding]:
        """Imported as the run's first step does it, with what it measures models by."""
        data, recipe = import_data(self.context), self.recipe
        seeds, texts = read_manifest(data.seed_data), data.evaluation_texts
        kept, asked = seeds.counts.kept, seeds.metrics
        sizes = {name: (kept.get(name, 0), int(asked[f"{name}_asked"])) for name in ("ift", "eft", "eval")}
        told = ", ".join(f"{count:,} of {wanted:,} for {name}" for name, (count, wanted) in sizes.items() if wanted)
        dropped = f"; {sum(seeds.counts.dropped.values()):,} messages dropped" if seeds.counts.dropped else ""
        if any(count < wanted for count, wanted in sizes.values()):
            remedy = "A run goes on with these; srlm data shows what was dropped and why."
            yield warning(f"fewer prompts than asked for: {told}{dropped}", remedy)
        else:
            yield ok(f"{told}{dropped}")
        if recipe.eft.source != "model":
            judge_prompt = recipe.judging.judge_prompt()
            made = make_eft(self.context.store, recipe.eft, data.seed_data, judge_prompt, evaluation_texts=texts)
            yield ok(f"{made.counts.kept['examples']:,} EFT examples by eft.source: {recipe.eft.source}")
        if recipe.prompts.source == "file":
            uris: list[str] = []
            for number in range(1, recipe.rounds + 1):
                where = {"seed_data": data.seed_data, "evaluation_texts": texts}
                uris.append(make_round_prompts(self.context, number, where, uris, ServedModel(self.context, "", "")))
            yield ok(f"{recipe.prompts.count:,} prompts for each of {recipe.rounds} rounds")

    def models(self) -> Iterator[Finding]:
        """M0 as it is trained; others only answer."""
        yield self._described("model", self.model)
        for name in ("writer", "annotator"):
            settings: BaseModelSettings | None = getattr(self.recipe, name)
            if settings is not None:
                yield self._described(name, describe_model(settings, trained=False))

    def _described(self, name: str, model: ModelDescription) -> Finding:
        base = getattr(self.recipe, name).base
        text = f"{name} {base}: {model.architecture}, {model.parameters:,} weights, with a chat template"
        if model.not_shown:
            return warning(f"{text} that cannot show {' and '.join(model.not_shown)}", "Such prompts are not answered.")
        return ok(text)

    def size(self) -> Iterator[Finding]:
        """What does not fit each other, or this machine, by the model's own configuration."""
        recipe, parameters, shape = self.recipe, self.model.parameters, shape_from(self.model.config)
        found = mistakes(recipe, shape) if shape else []
        for problem in found:
            yield broken(problem, "Correct it in the file or with --set.")
        disk, (free, where) = run_disk(recipe, parameters) / GB, free_disk()
        if recipe.resources.gpus:
            yield ok(f"a run keeps about {disk:,.0f} GB of models in its store")
        elif disk > free:
            yield broken(
                f"a run takes about {disk:.1f} GB, and {where} has {free:.1f} GB free", "Set SRLM_HOME to another."
            )
        else:
            yield ok(f"a run takes about {disk:.1f} GB of disk; {free:.0f} GB are free for {where}")
        if shape is None:
            yield warning(f"how much memory training takes is not known of {self.model.architecture}")
            return
        yield self._memory(shape)

    def _memory(self, shape: Shape) -> Finding:
        """Of each GPU where the recipe has them (`mistakes` compares where it says how large), else of this machine."""
        pods, gpus, free = self.recipe.resources, gpus_of(self.recipe), free_memory()
        sft, dpo = (
            training_memory(
                shape, settings, gpus, pairs, held=None if pods.gpus else micro_batch_on_cpu(settings, pairs)
            ).total
            / GB
            for settings, pairs in ((self.recipe.sft, False), (self.recipe.dpo, True))
        )
        told = f"sft takes about {sft:.1f} GB and dpo {dpo:.1f} GB"
        if pods.gpus and not pods.gpu_memory:
            return warning(f"{told} of each GPU's memory", "Say in resources.gpu_memory what one has.")
        if pods.gpus:
            return ok(f"{told} of each GPU's {pods.gpu_memory}")
        if free is not None and max(sft, dpo) > free:
            return warning(
                f"{told} of memory, and {free:.1f} GB are available", "Close something, or set sft.lora and dpo.lora."
            )
        return ok(f"{told} of memory" + (f"; {free:.1f} GB are available" if free else ""))

    def judge(self) -> Iterator[Finding]:
        """One example judged by who would judge, or by M0 where that is what there is."""
        judge, recipe = judge_of(self.context), self.recipe
        if judge is not None:
            yield self._tried(f"the judge at {judge.shown}", judge, other=True)
        elif address := self._policy():
            yield self._tried(f"the model at {address.shown}", address)
        elif self.trial or self.model.parameters <= SMALL:
            engine, serving = EmbeddedEngine(), recipe.serving
            manifest = import_model(self.context.store, recipe.model)
            name = f"check-{os.getpid()}"
            try:
                url = engine.start(name, "m0", join(self.context.store, "base_model", manifest.key), serving)
                yield self._tried("M0", url)
            finally:
                engine.stop(name)
        else:
            yield warning(
                f"no judgement was tried: M0 has {self.model.parameters / 1e9:.1f} G weights",
                "Name --judge-endpoint or --endpoint, or serve it here for one example with --judge.",
            )

    def _policy(self) -> Address | None:
        """The endpoint of the run's own models, where it is one URL for all of them."""
        endpoint = self.options.endpoint
        return Address(endpoint, key_variable=ENDPOINT_KEY) if endpoint and "{model}" not in endpoint else None

    def _tried(self, who: str, endpoint: str | Address, other: bool = False) -> Finding:
        """M0 need not be able to judge, as EFT teaches it; another judge is what it is."""
        tried = try_judge(self.recipe.judging, endpoint)
        scores = [score.value for _, score in tried if score.value is not None]
        told = f"{who} judged one example {len(tried)} times"
        if len(scores) == len(tried):
            return ok(f"{told}, with the scores {', '.join(f'{score:g}' for score in scores)}")
        text, score = next((text, score) for text, score in tried if score.value is None)
        problem = f"{told}, {len(scores)} with a score; else: {score.unparsed}, behind {' '.join(text[-80:].split())!r}"
        if other:
            remedy = "Change judging.prompt, judging.pattern or judging.max_tokens, or take another judge."
            return warning(problem, remedy) if scores else broken(problem, remedy)
        return warning(problem, "EFT teaches M1 to judge; eft.source: model needs a baseline that can do it already.")

    def endpoints(self) -> Iterator[Finding]:
        """All that are named, each once; what cannot be told of a server is no reason not to run."""
        named = {one.shown: one for one in (self._policy(), judge_of(self.context), annotator_of(self.context)) if one}
        if not named:
            yield ok("none is named: a run serves its models itself")
        for shown, address in named.items():
            for finding in check_server(address):
                if finding.state == "unknown":
                    yield warning(f"{shown}: not known: {finding.text}", finding.remedy)
                else:
                    yield Finding(finding.state, f"{shown}: {finding.text}", finding.remedy)


@contextmanager
def _as_a_step(folder: Path) -> Iterator[None]:
    """What stages and libraries say on the way goes to a file, and a server's threads do not spin on busy cores."""
    before, own = dict(os.environ), {"OMP_WAIT_POLICY": "PASSIVE", "SRLM_OWNER_PID": str(os.getpid())}
    with (folder / "said.txt").open("w") as said, redirect_stderr(said):
        os.environ.update(own)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


CHECKS: dict[str, Callable[[Check], Iterator[Finding]]] = {
    "files": Check.files,
    "data": Check.data,
    "model": Check.models,
    "size": Check.size,
    "judge": Check.judge,
    "endpoint": Check.endpoints,
}
