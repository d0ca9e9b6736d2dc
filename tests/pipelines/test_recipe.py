"""Recipes: every shipped one loads and compiles, and every mistake is told at once."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import pytest
import yaml

from components.core.errors import UserError
from components.core.settings import Settings
from pipelines.compile import compile_recipe
from pipelines.recipe import SHIPPED, changes, load_recipe, local_files, require_local_files, shipped_recipes
from pipelines.watch.outline import read_outline


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_compile(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    compile_recipe(recipe, tmp_path / "pipeline.yaml")
    assert sum(len(phase.steps) for phase in read_outline([tmp_path / "pipeline.yaml"])) > 20
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_what_is_compiled_in_gives_the_settings_back(name: str) -> None:
    """A compiled pipeline holds no nulls and turns integers into floats: neither may change a setting."""
    recipe = load_recipe(name)
    for section in type(recipe).model_fields:
        settings = getattr(recipe, section)
        if isinstance(settings, Settings):
            values = yaml.safe_load(yaml.safe_dump(_as_protobuf(settings.to_dict())))
            assert type(settings)(**values) == settings


def _as_protobuf(value: object) -> object:
    if isinstance(value, dict):
        return {name: _as_protobuf(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_as_protobuf(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_the_published_numbers_of_meta_rewarding() -> None:
    """Wu et al. 2024 (2407.19594): four rounds of 5,000 prompts, 7 answers, 11 judgements, the meta-judge in two."""
    meta, trunk = load_recipe("llama3-8b-meta"), load_recipe("llama3-8b")
    assert (meta.rounds, meta.prompts.count, meta.sampling.candidates, meta.judging.samples) == (4, 5000, 7, 11)
    assert meta.pairs.of_round(2).meta_judge and not meta.pairs.of_round(3).meta_judge
    assert (meta.model, meta.sft, meta.dpo) == (trunk.model, trunk.sft, trunk.dpo)


def test_the_published_numbers_of_temporal_pairs() -> None:
    """Wang et al. 2025 (2508.06026): two rounds, 4,000 prompts a round, 7 answers; all else is llama3-8b's."""
    temporal, trunk = load_recipe("llama3-8b-temporal"), load_recipe("llama3-8b")
    assert (temporal.rounds, temporal.prompts.count, temporal.sampling.candidates) == (2, 4000, 7)
    assert temporal.pairs.rejected_from == "first"
    assert (temporal.model, temporal.sft, temporal.dpo, temporal.judging) == (
        trunk.model,
        trunk.sft,
        trunk.dpo,
        trunk.judging,
    )


def test_the_papers_published_numbers() -> None:
    """Yuan et al. 2024, sections 3.1.1 and 3.1.3."""
    paper = load_recipe("llama2-70b-paper")
    assert paper.model.base == "meta-llama/Llama-2-70b-hf"
    assert paper.data.ift == 3200
    assert (paper.sft.learning_rate, paper.sft.min_learning_rate, paper.sft.batch_size) == (5.5e-6, 1.1e-6, 16)
    assert (paper.dpo.learning_rate, paper.dpo.min_learning_rate, paper.dpo.batch_size) == (1e-6, 1e-7, 16)
    assert (paper.sft.dropout, paper.dpo.dropout, paper.dpo.beta) == (0.1, 0.1, 0.1)
    assert (paper.sampling.candidates, paper.sampling.temperature, paper.sampling.top_p) == (4, 0.7, 0.9)
    assert (paper.judging.samples, paper.judging.temperature, paper.judging.top_p) == (3, 0.7, 0.9)
    assert (paper.prompts.seed_shots, paper.prompts.generated_shots) == (6, 2)
    assert (paper.prompts.temperature, paper.prompts.top_p, paper.prompts.novelty) == (0.6, 0.9, 0.7)
    assert paper.pairs.length_control == (0.0,)
    assert paper.rounds == 2
    assert paper.sft.lora is None
    assert paper.eft.source == "model"


def test_every_mistake_is_told_at_once_with_its_path() -> None:
    mistakes = ["sampling.temprature=1", "judging.samples=0", "sft.min_learning_rate=1", "rounds=many", "nonsense.x=1"]
    with pytest.raises(UserError) as caught:
        load_recipe("demo", mistakes)
    message = str(caught.value)
    assert "5 mistakes" in message
    for part in (
        "sampling.temprature: unknown key; did you mean temperature?",
        "judging.samples",
        "sft: min_learning_rate 1.0",
    ):
        assert part in message
    assert "rounds" in message
    assert "nonsense" in message


def test_overrides_reach_nested_settings() -> None:
    recipe = load_recipe("demo", ["sft.lora.rank=4", "pairs.length_control=[0, 0.1]", "evaluation.judging.samples=2"])
    assert recipe.sft.lora is not None
    assert (recipe.sft.lora.rank, recipe.pairs.length_control, recipe.evaluation.judging.samples) == (4, (0, 0.1), 2)


def test_the_seed_and_the_generation_settings_reach_every_section() -> None:
    """But for the split of the data, so that two seeds can be compared."""
    recipe = load_recipe("demo", ["seed=5", "judging.max_tokens=33", "sampling.max_tokens=44"])
    assert recipe.data.seed == 17
    sections = (recipe.sft, recipe.sampling, recipe.judging, recipe.dpo, recipe.evaluation.judging)
    assert {section.seed for section in sections} == {5}
    assert (recipe.evaluation.judging.max_tokens, recipe.evaluation.answers.max_tokens) == (33, 44)


EARLY_STOP = ["dpo.early_stop={every: 100}", "data.validation_prompts=10"]


WHOLE_OR_NOT = [["resources.gpus=2"], ["resources.gpus=2", "dpo.sharding=none"], ["resources.gpus=1"]]


@pytest.mark.parametrize("more", WHOLE_OR_NOT)
def test_early_stop_by_answers_needs_a_gpu_that_can_serve(more: list[str]) -> None:
    """With the default (auto) several GPUs shard; gathered, the model (16 GB in bf16) is served by one of them."""
    assert load_recipe("llama3-8b", [*EARLY_STOP, *more, "resources.gpu_memory=200Gi"]).dpo.early_stop


def test_early_stop_by_pairs_needs_pairs_and_no_prompts() -> None:
    with pytest.raises(UserError, match=r"data.validation_prompts \(the paper: 253\), or dpo.early_stop.by to pairs"):
        load_recipe("demo", ["dpo.early_stop={every: 100}", "data.validation_prompts=0"])
    by_pairs = ["dpo.early_stop={by: pairs, every: 100}", "data.validation_prompts=0"]
    assert load_recipe("demo", by_pairs).dpo.judged_answers is None
    with pytest.raises(UserError, match="early_stop.by pairs compares losses on held-out pairs: set held_out above 0"):
        load_recipe("demo", [*by_pairs, "dpo.held_out=0"])


@pytest.mark.parametrize("override", ["sampling", "=3", "a..b=1", "name.x=1", "rounds=[1"])
def test_an_override_that_makes_no_sense_is_refused(override: str) -> None:
    with pytest.raises(UserError):
        load_recipe("demo", [override])


def test_texts_may_lie_in_files_beside_the_recipe(tmp_path: Path) -> None:
    raw = yaml.safe_load((SHIPPED / "demo.yaml").read_text())
    raw["judging"]["prompt"] = {"file": "judge.txt"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match=r"judge\.txt"):
        load_recipe(str(tmp_path / "own.yaml"))
    (tmp_path / "judge.txt").write_text("{instruction} {response}")
    assert load_recipe(str(tmp_path / "own.yaml")).judging.prompt == "{instruction} {response}"


def test_a_recipe_may_extend_another_and_say_what_differs(tmp_path: Path) -> None:
    """Section by section; lists and nulls as a whole, texts from files beside each; what extends it can be extended."""
    prompt = SHIPPED / "demo-judge-prompt.txt"
    (tmp_path / "mine.yaml").write_text("extends: demo\nname: mine\nsampling: {candidates: 6}\nannotator: null\n")
    (tmp_path / "hers.yaml").write_text(
        "extends: mine.yaml\nsampling: {max_tokens: 50}\npairs: {length_control: [0]}\n"
    )
    demo, mine, hers = (
        load_recipe(name) for name in ("demo", str(tmp_path / "mine.yaml"), str(tmp_path / "hers.yaml"))
    )
    assert mine == load_recipe("demo", ["name=mine", "sampling.candidates=6", "annotator=null"])
    assert hers == load_recipe(str(tmp_path / "mine.yaml"), ["sampling.max_tokens=50", "pairs.length_control=[0]"])
    assert mine.judging.prompt == demo.judging.prompt == prompt.read_text()


@pytest.mark.parametrize(
    ("extended", "problem"),
    [("mine.yaml", "extends itself"), ("[demo]", "extends is"), ("dem0", "no recipe 'dem0'"), ("null", "extends is")],
)
def test_what_cannot_be_extended_is_refused(extended: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: {extended}\n")
    with pytest.raises(UserError, match=problem):
        load_recipe(str(tmp_path / "mine.yaml"))


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(UserError, match="demo"):
        load_recipe("dmeo")


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match="no YAML"):
        load_recipe(str(tmp_path / "bad.yaml"))
    (tmp_path / "bad.yaml").write_text("- 1")
    with pytest.raises(UserError, match="no sections"):
        load_recipe(str(tmp_path / "bad.yaml"))


def test_files_that_are_not_there_are_told_at_once_with_what_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder the world's five files are missing; a hub id or an s3:// URI is not looked for here."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        require_local_files(load_recipe("world"))
    told = error.value.problem
    assert all(f"./world/{name}" in told for name in ("model", "messages", "judgements", "prompts", "questions"))
    assert error.value.remedy == "Make them with: make world"
    require_local_files(load_recipe("llama3-8b", ["data.messages=s3://bucket/messages.jsonl"]))


def test_no_pair_could_be_further_apart_than_the_judges_scale() -> None:
    assert load_recipe("demo", ["pairs.min_gap=5"]).pairs.min_gap == 5
    with pytest.raises(UserError, match="pairs.min_gap 5.5 is more than judging's whole scale, 5"):
        load_recipe("demo", ["pairs.min_gap=5.5"])


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_differs_in_nothing_from_itself(name: str, tmp_path: Path) -> None:
    """Nor does one that is read where its files are, which makes their paths absolute."""
    with chdir(tmp_path):
        assert changes(load_recipe(name)) == {}
        for path in local_files(load_recipe(name)).values():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        assert changes(load_recipe(name)) == {}


def test_what_differs_from_the_shipped_recipe_is_told_once_where_it_was_set() -> None:
    """The seed goes to ten sections, sampling to how the evaluation samples; a section may be there or not."""
    overrides = ["seed=5", "sampling.max_tokens=77", "gate.floors.parse_rate=0.9", "instructions=null"]
    found = changes(load_recipe("demo", overrides))
    shipped = load_recipe("demo")
    assert found["seed"] == [str(shipped.seed), "5"]
    assert found["sampling.max_tokens"] == [str(shipped.sampling.max_tokens), "77"]
    assert found["gate.floors.parse_rate"][1] == "0.9"
    rest = set(found) - {"seed", "sampling.max_tokens", "gate.floors.parse_rate"}
    assert rest and all(name.startswith("instructions.") and found[name][1] == "-" for name in rest)


def test_a_recipe_of_an_own_name_is_compared_with_none() -> None:
    assert changes(load_recipe("demo", ["name=mine", "seed=5"])) == {}
