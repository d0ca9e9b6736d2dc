"""What is wrong with a recipe is told by the setting's name and what is allowed, never in pydantic's own words."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from itertools import groupby, product
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from components.core.context import RunContext, read_context
from components.core.errors import UserError
from components.core.settings import Settings
from components.judging.settings import JudgingSettings
from pipelines.compile import load_recipe_for_elsewhere
from pipelines.recipe import Recipe, load_recipe, local_files, recipe_from

PYDANTIC = ("nput should", "validation error", "pydantic", "Value error", "should be a", "type=", "[key]")
WRONG: list[Any] = ["many words", -7, [1], {"a b": [1]}, None]
DEMO = load_recipe("demo").to_dict()


def settings(section: type[Settings], before: str, seen: set[type[Settings]]) -> Iterator[str]:
    """Every setting of a recipe by its dotted name, sections too; of each class of settings once."""
    seen.add(section)
    for name, field in section.model_fields.items():
        yield f"{before}{name}"
        for one in classes(field.annotation):
            if one not in seen:
                yield from settings(one, f"{before}{name}.", seen)


def classes(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [one for argument in get_args(annotation) for one in classes(argument)]


def told(setting: str, value: Any) -> str:
    """What a wrong value is answered with; "" where it is none."""
    try:
        override = f"{setting}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...')}"
        recipe_from(copy.deepcopy(DEMO), [override])
    except UserError as error:
        return str(error)
    return ""


SECTIONS = {name: list(group) for name, group in groupby(settings(Recipe, "", set()), lambda one: one.split(".")[0])}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_wrong_value_is_told_by_its_setting_and_what_is_allowed(section: str) -> None:
    for setting, value in product(SECTIONS[section], WRONG):
        message = told(setting, value)
        assert not [words for words in PYDANTIC if words in message], f"{setting}={value!r}: {message}"
        if message.startswith("the recipe"):
            told_of = [line.strip().partition(": ") for line in message.splitlines()[1:-1]]
            assert all(what for _, _, what in told_of), message
            # what does not fit another setting is told by that one, or by the section that holds both
            assert {name.split(".")[0] for name, _, _ in told_of} & {section, "recipe"}, message


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rounds=many", "rounds: must be a whole number, not 'many'"),
        ("rounds=0", "rounds: must be at least 1, not 0"),
        ("data.eft_prompts=x", "data.eft_prompts: must be a whole number or null, not 'x'"),
        ("data.turns=none", "data.turns: must be 'first' or 'all', not 'none'"),
        ("serving.patience=null", "serving.patience: must be a number, not null"),
        ("sampling=7", "sampling: must be a section: a mapping of settings to values, not 7"),
        ("pairs.length_control=[0.9]", "pairs.length_control.0: must be at most 0.5, not 0.9"),
        ("gate.floors={parse_rate: x}", "gate.floors.parse_rate: must be a number, not 'x'"),
        (
            "model.chat_template_kwargs={a: [1]}",
            "model.chat_template_kwargs.a: must be a whole number or true or false or a text, not [1]",
        ),
        ("cluster.pods={nobody: {}}", "the name 'nobody' must be 'step', 'importer', 'trainer', 'server' or 'job'"),
        ("sft.lora={rnak: 8}", "sft.lora.rnak: unknown key; did you mean rank?"),
        ("judging.highest=.nan", "judging.highest: must be a finite number, not nan"),
    ],
)
def test_each_kind_of_mistake_in_words(setting: str, message: str) -> None:
    """One mistake each."""
    with pytest.raises(UserError) as error:
        load_recipe("demo", [setting])
    assert message in str(error.value) and "has one mistake" in str(error.value)


def test_a_file_s_text_and_a_path_mean_the_same_in_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`{file: x}` of a recipe is beside the recipe, with --set where the command runs. Paths are meant from there, too;
    in a pod they stay as they are written."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "judge.txt").write_text("beside {instruction} {response}")
    (tmp_path / "judge.txt").write_text("here {instruction} {response}")
    (tmp_path / "rows.jsonl").touch()
    own = tmp_path / "recipes" / "own.yaml"
    own.write_text("extends: demo\njudging: {prompt: {file: judge.txt}}\ndata: {messages: ./rows.jsonl}\n")
    monkeypatch.chdir(tmp_path)
    for load in (load_recipe, load_recipe_for_elsewhere):
        for name in ("recipes/own.yaml", str(own)):
            assert load(name).judging.prompt.startswith("beside")
            assert load(name, ["judging.prompt={file: judge.txt}"]).judging.prompt.startswith("here")
        with pytest.raises(UserError, match=r"there is no file nothing\.txt"):
            load(str(own), ["judging.prompt={file: nothing.txt}"])
    in_file, by_set = load_recipe("recipes/own.yaml"), load_recipe("demo", ["data.messages=rows.jsonl"])
    assert in_file.data.messages == by_set.data.messages == str(tmp_path / "rows.jsonl")
    assert local_files(in_file) == {"data.messages": str(tmp_path / "rows.jsonl")}
    assert load_recipe_for_elsewhere("recipes/own.yaml").data.messages == "./rows.jsonl"


def test_a_run_of_another_version_is_told_to_be_one(tmp_path: Path) -> None:
    """Its recipe, its context, and records of its stages."""
    store = str(tmp_path)
    where = dict.fromkeys(("tracking_uri", "engine", "endpoint", "judge_endpoint", "annotator_endpoint"), "")
    images = dict.fromkeys(("worker_image", "trainer_image", "engine_image"), "")
    context = RunContext(store, "one", {"judging": {"samples": "K", "votes": 3}}, **where, **images)
    with pytest.raises(UserError, match=r"begun by a version .*judging\.samples: must be a whole number"):
        context.section("judging", JudgingSettings)
    context.write()
    path = tmp_path / "runs" / "one" / "context.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "red"}))
    with pytest.raises(UserError, match="written by a newer version of this code: colour"):
        read_context(context.uri)
    path.write_text("{}")
    with pytest.raises(UserError, match="begun by a version .*missing 10 required positional arguments: 'store'"):
        read_context(context.uri)
