"""The one typed configuration of a run: what to do. Where it happens are the pipeline's parameters."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.journal import read_journal
from components.core.settings import Settings
from components.eft.ranks import require_five_point_scale
from components.eft.settings import EftSettings
from components.evaluation.alpaca_eval.settings import AnnotationSettings, InstructionsSettings
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.evaluation.mt_bench.settings import MtBenchSettings
from components.evaluation.settings import EvaluationSettings
from components.gate.settings import GatePolicy
from components.judging.settings import RoundJudgingSettings
from components.kubernetes.settings import ClusterSettings, TrainingPods
from components.pairs.settings import PairsSettings
from components.prompts.settings import PromptsSettings
from components.registry.references import ModelReference
from components.sampling.settings import SamplingSettings
from components.seed_data.settings import SeedDataSettings
from components.serving.settings import ServingSettings
from components.training.dpo.settings import DpoSettings
from components.training.sft.settings import SftSettings
from pipelines.plan.checks import mistakes
from pipelines.recipe_errors import lines_of

LARGEST = 100_000  # values of a recipe
SHIPPED = Path(__file__).parent / "recipes"
PATHS = (
    "data.messages",
    "data.demonstrations",
    "eft.file",
    "prompts.file",
    "instructions.reference",
    "instructions.instructions",
    "instructions.difficulty",
    "evaluation.exact_answers.questions",
    "pairs.exact_answers.questions",
    "mt_bench.questions",
    "benchmarks.include",
    "annotator.base",
    "model.base",
    "writer.base",
)  # relative ones are meant from where the command runs
SEEDED = ("eft", "sft", "prompts", "sampling", "judging", "pairs", "dpo", "annotation", "gate")
# Sections inside, where the recipe has them.
SEEDED_INSIDE = (("pairs", "comparisons"), ("pairs", "meta_judge"), ("judging", "rubrics"))
DERIVED = (("evaluation",), ("dpo", "early_stop"))  # sections that sample and judge as the rounds do


class Recipe(Settings):
    """Every setting of a run; docs/recipe.md says which folder reads which section."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$", description="also the registered model's name")
    description: str = Field("", description="what it is for, in a sentence")
    made_by: str = Field("", description="the command that makes the files named here, told where one is missing")
    seed: int = Field(17, description="every draw of the run derives from it")
    rounds: int = Field(2, ge=1, description="2 rounds make M2 and M3")
    model: BaseModelSettings
    writer: BaseModelSettings | None = Field(None, description="writes the prompts, with prompts.source: base; else M0")
    data: SeedDataSettings
    eft: EftSettings = Field(default_factory=EftSettings)
    sft: SftSettings = Field(default_factory=SftSettings)
    prompts: PromptsSettings = Field(default_factory=PromptsSettings)
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    judging: RoundJudgingSettings = Field(default_factory=RoundJudgingSettings)
    pairs: PairsSettings = Field(default_factory=PairsSettings)
    dpo: DpoSettings = Field(default_factory=DpoSettings)
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    instructions: InstructionsSettings | None = Field(None, description="AlpacaEval's set; null: no win rates")
    annotation: AnnotationSettings = Field(default_factory=AnnotationSettings)
    annotator: BaseModelSettings | None = Field(None, description="compares, without --annotator-endpoint; null: M0")
    mt_bench: MtBenchSettings | None = Field(None, description="80 questions in two turns; null: not measured")
    benchmarks: BenchmarksSettings | None = Field(None, description="the alignment tax; null: not measured")
    gate: GatePolicy = Field(default_factory=GatePolicy)
    serving: ServingSettings = Field(default_factory=ServingSettings)
    resources: TrainingPods = Field(default_factory=TrainingPods, description="the trainer's pods")
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)

    @property
    def trains_baseline(self) -> bool:
        """Whether there is an SFT baseline; else M0 is what M1 is held against."""
        return self.data.ift > 0 and self.sft.baseline

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        """The seed goes to every section; others sample and judge as the rounds do unless they say otherwise."""
        if not isinstance(raw, dict):
            return raw
        raw = copy.deepcopy(raw)
        seed = raw.get("seed", cls.model_fields["seed"].default)
        for name in SEEDED:
            if isinstance(section := raw.setdefault(name, {}), dict):
                section.setdefault("seed", seed)
        for inside in SEEDED_INSIDE:
            if isinstance(section := _inside(raw, inside), dict):
                section.setdefault("seed", seed)
        raw.setdefault("evaluation", {})
        for path in DERIVED:
            section = _inside(raw, path)
            if isinstance(section, dict) and section.get("by") != "pairs":  # early stop by pairs asks nobody
                section["judging"] = _with_defaults(section.get("judging"), raw["judging"], besides=("rubrics",))
                section["answers"] = _with_defaults(
                    section.get("answers"), raw["sampling"], besides=("candidates", "reasoning")
                )
        return raw

    @model_validator(mode="after")
    def _judge_prompt_has_its_slots(self) -> Recipe:
        early_stop = [self.dpo.judged_answers.judging] if self.dpo.judged_answers else []
        for judging in (self.judging, self.evaluation.judging, *early_stop):
            judging.judge_prompt()
        if self.eft.source == "ranks":
            require_five_point_scale(self.judging.judge_prompt().score_format)
        return self

    @model_validator(mode="after")
    def _pairs_can_be_that_far_apart(self) -> Recipe:
        scale, what = self.judging.highest - self.judging.lowest, "judging's whole scale"
        if self.pairs.comparisons:
            scale, what = 2.0 * (self.sampling.candidates - 1), "wins less losses can differ"
        if self.pairs.min_gap > scale:
            raise ValueError(f"pairs.min_gap {self.pairs.min_gap:g} is more than {what}, {scale:g}")
        return self

    @model_validator(mode="after")
    def _early_stop_has_prompts(self) -> Recipe:
        if self.dpo.judged_answers and not self.data.validation_prompts:
            raise ValueError(
                "dpo.early_stop needs prompts to look at: set data.validation_prompts (the paper: 253), or "
                "dpo.early_stop.by to pairs"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if found := mistakes(self):
            raise ValueError("\n".join(found))
        return self


def _inside(raw: Any, path: Sequence[str]) -> Any:
    """The value at the end of the path; None where there is none."""
    for name in path:
        raw = raw.get(name) if isinstance(raw, dict) else None
    return raw


def _with_defaults(section: Any, defaults: Any, besides: Sequence[str] = ()) -> Any:
    """The section with what it does not set itself; validation reports what is no section."""
    section = {} if section is None else section
    if not isinstance(section, dict) or not isinstance(defaults, dict):
        return section
    return {name: value for name, value in defaults.items() if name not in besides} | section


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = (), elsewhere: bool = False) -> Recipe:
    """A shipped recipe by its name or any YAML file, with `a.b=c` overrides on top.

    A file may say `extends: demo` (or another file), and then only what differs. Relative paths become absolute, unless
    the recipe is executed `elsewhere`: a pod reads them from its own working directory. Raises UserError that lists
    every mistake with its path and the remedy.
    """
    path = _recipe_file(name_or_path, Path())
    return recipe_from(_read_sections(path), overrides, path.name, elsewhere)


def _recipe_file(name_or_path: str, folder: Path) -> Path:
    """A shipped recipe by its name, or a file; relative paths are of the folder."""
    for path in (SHIPPED / f"{name_or_path}.yaml", folder / name_or_path):
        if _is_file(path):
            return path
    meant = "".join(f" (did you mean {one}?)" for one in difflib.get_close_matches(name_or_path, shipped_recipes(), 1))
    remedy = f"Name a YAML file or one of the shipped recipes: {', '.join(shipped_recipes())}."
    raise UserError(f"there is no recipe {name_or_path[:200]!r}{meant}", remedy)


def _read_sections(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What a file says on top of the recipe that it extends; `{file: x}` is relative to the file that it is in."""
    if path.resolve() in extended_by:
        raise UserError(f"{path} extends itself", "Let `extends` name another recipe.")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bytes that are no text, 2024-13-45
        raise UserError(f"{path} is no YAML: {error}", "Correct the file.") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path} holds no sections", "Start from a shipped recipe, e.g. pipelines/recipes/demo.yaml.")
    _require_tree(raw, path)
    _read_files(raw, path.parent)
    if "extends" not in raw:
        return raw
    extended = raw.pop("extends")
    if not isinstance(extended, str):
        raise UserError(f"{path}: extends is {extended!r}", "Let it name a recipe, e.g. extends: demo.")
    base = _recipe_file(extended, path.parent)
    return _on_top_of(_read_sections(base, (*extended_by, path.resolve())), raw)


def _on_top_of(base: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """The base with what `raw` sets: section by section, any other value (a list, null) as a whole."""
    both = dict(base)
    for name, value in raw.items():
        under = base.get(name)
        both[name] = _on_top_of(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return both


def _is_file(path: Path) -> bool:
    """What no system takes as a path (too long, half a character) is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _require_tree(raw: Any, path: Path) -> None:
    """Raises UserError where aliases of YAML make a circle, or more of a few lines than any recipe holds."""
    left, count = [raw], 0
    while left:
        node, count = left.pop(), count + 1
        left += node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        if count > LARGEST:
            raise UserError(
                f"{path} holds more than {LARGEST:,} values, or an alias that refers to itself",
                "Write out what its aliases (*name) stand for.",
            )


def recipe_from(
    raw: dict[str, Any], overrides: Sequence[str] = (), name: str = "of the run", elsewhere: bool = False
) -> Recipe:
    """The recipe of these sections, with `a.b=c` overrides on top; `name` stands in the list of mistakes."""
    for override in overrides:
        _override(raw, override)
    if not elsewhere:
        _absolute_paths(raw)
    _read_files(raw, Path())
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        lines = lines_of(error.errors(), Recipe, DERIVED)
        count = "one mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise UserError(
            "\n".join([f"the recipe {name} has {count}:", *lines, ""]), "Correct them in the file or with --set."
        ) from error


def recipe_of(store: str, model: ModelReference, name: str = "", overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name; without one that of the run which made the model. Raises UserError as load_recipe does,
    and where the store knows no run."""
    if name:
        return load_recipe(name, overrides)
    recipes = read_journal(store, model.run, "recipe") if model.run else []
    if not recipes:
        raise UserError(
            f"the store {store} holds no recipe of the run that made {model.label}", "Name a recipe: --recipe NAME."
        )
    return recipe_from(recipes[0], overrides)


def local_files(recipe: Recipe) -> dict[str, str]:
    """The files of this machine (./, ../ or /) that a recipe names, by setting."""
    raw = recipe.to_dict()
    named = {dotted: _inside(raw, dotted.split(".")) for dotted in PATHS}
    return {dotted: path for dotted, path in named.items() if path and path.startswith(("./", "../", "/"))}


def require_local_files(recipe: Recipe) -> None:
    """Raises UserError that names every file of this machine that the recipe needs and is not there."""
    missing = [f"{dotted}: {path}" for dotted, path in local_files(recipe).items() if not Path(path).exists()]
    if missing:
        raise UserError(
            f"files of the recipe {recipe.name} are not there ({'; '.join(missing)})",
            f"Make them with: {recipe.made_by}" if recipe.made_by else "Correct the paths in the recipe or with --set.",
        )


def changes(recipe: Recipe) -> dict[str, list[str]]:
    """The settings in which it differs from the shipped recipe of its name: [shipped, here] by dotted name, as text.

    Empty where no such recipe is shipped. What a section took over (the seed, how the rounds sample and judge) is told
    once, where it was set. Text, as a compiled pipeline holds no nulls and turns integers into floats.
    """
    if recipe.name not in shipped_recipes():
        return {}
    raw = _read_sections(SHIPPED / f"{recipe.name}.yaml")
    shipped, here = (flat(one.to_dict()) for one in (Recipe.model_validate(raw), recipe))
    both = {name: (shipped.get(name), here.get(name)) for name in sorted(shipped | here)}
    differ = {name: values for name, values in both.items() if not _same(name, *values)}
    told = {name: values for name, values in differ.items() if differ.get(taken_from(name)) != values}
    return {name: ["-" if one is None else str(one) for one in values] for name, values in told.items()}


def flat(section: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        inside = isinstance(value, dict) and value
        found |= flat(value, f"{before}{name}.") if inside else {f"{before}{name}": value}
    return found


def _same(name: str, shipped: Any, here: Any) -> bool:
    """Paths are the same where they lead to the same place: a recipe that was loaded has absolute ones."""
    if name in PATHS and shipped and here:
        shipped, here = (Path(path).expanduser().resolve() for path in (shipped, here))
    return bool(shipped == here)


def taken_from(name: str) -> str:
    """The setting that this one follows unless it is set itself; "" where it follows none."""
    if name.endswith(".seed"):
        return "seed"
    for section in map(".".join, DERIVED):
        for part, origin in (("judging", "judging"), ("answers", "sampling")):
            if name.startswith(f"{section}.{part}."):
                return f"{origin}.{name.removeprefix(f'{section}.{part}.')}"
    return ""


def _override(raw: dict[str, Any], override: str) -> None:
    """Set the value of an `a.b=value`, whose sections need not be there yet."""
    dotted, equals, text = override.partition("=")
    names = dotted.strip().split(".")
    if not equals or not all(names):
        raise UserError(f"--set {override!r} is not of the form a.b=value", "For example --set sampling.candidates=8.")
    section = raw
    for name in names[:-1]:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise UserError(f"--set {override!r}: {name} is no section", "Name a setting inside a section.")
    try:
        section[names[-1]] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"--set {override!r}: the value is no YAML ({error})", "Quote it as YAML wants it.") from error


def _absolute_paths(raw: dict[str, Any]) -> None:
    """A path to what is there becomes absolute: the run may look from another folder. Others may be hub ids."""
    for dotted in PATHS:
        *sections, name = dotted.split(".")
        section = _inside(raw, sections)
        value = section.get(name) if isinstance(section, dict) else None
        if value and isinstance(value, str) and "://" not in value and Path(value).expanduser().exists():
            section[name] = str(Path(value).expanduser().resolve())


def _read_files(node: Any, folder: Path) -> None:
    """Replace `{file: path}` by the file's text, so that a compiled pipeline needs no file beside it."""
    for name, value in node.items() if isinstance(node, dict) else []:
        if isinstance(value, dict) and set(value) == {"file"}:
            path = folder / str(value["file"])
            if not _is_file(path):
                raise UserError(
                    f"{name}: there is no file {str(path)[:200]}", "Paths are relative to the recipe's folder."
                )
            node[name] = path.read_text(encoding="utf-8-sig")
        else:
            _read_files(value, folder)
