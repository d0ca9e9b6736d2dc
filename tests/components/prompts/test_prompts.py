"""Prompts written in waves by a real endpoint whose every answer is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.records import (
    Counts,
    EvaluationText,
    Example,
    Manifest,
    Messages,
    Observation,
    Parent,
    Prompt,
    SeedPrompt,
)
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.core.store import join
from components.prompts.prompts import few_shot, write_prompts
from components.prompts.settings import PromptsSettings
from components.seed_data.settings import SeedDataSettings
from tests.helpers.scripted_endpoint import Script, said

Serve = Callable[[Script], str]
Body = dict[str, Any]


def text(name: str) -> str:
    """A prompt of four words that it shares with no other: ROUGE-L with any of them is 0."""
    return " ".join(f"{name}{letter}" for letter in "abcd")


def writes(task: Callable[[int], str]) -> Script:
    """A writer whose n-th answer is a function of n, counted from 1."""
    return Script(lambda number, _: said(task(number)))


def new_tasks(refused: int = 0) -> Script:
    """A writer that writes another prompt for every seed, and breaks down at the request of this number."""

    def answer(number: int, body: Body) -> tuple[int, Body]:
        return (401, {"error": "no"}) if number == refused else said(text(f"task{body['seed']}"))

    return Script(answer)


def shots(body: Body) -> list[str]:
    """The demonstrations in a request."""
    return re.findall(r"^Task \d+: (.+)$", body["messages"][-1]["content"], re.MULTILINE)


@dataclass(frozen=True)
class Round:
    """A store with a writer, seed data with the IFT prompts seed0, seed1, ..., and rounds before with their prompts."""

    root: str
    writer: str
    seed_data: str
    earlier: Sequence[str] = ()

    def write(self, endpoint: str, **settings: Any) -> Manifest:
        """One request at a time, so that answers come in the order of the attempts."""
        chosen = PromptsSettings(concurrency=1, **settings)
        return write_prompts(self.root, chosen, self.writer, self.seed_data, self.earlier, endpoint)

    def written(self, manifest: Manifest) -> list[str]:
        prompts = read_records(join(self.root, "prompts", manifest.key), "prompts", Prompt)
        return [prompt.text for prompt in prompts]


def a_round(root: Path, seeds: int = 8, earlier: Sequence[Sequence[str]] = ()) -> Round:
    def publish(name: str, kind: str, records: Sequence[Example | Prompt], settings: Settings | None = None) -> str:
        stage = Stage(str(root), name, settings or Settings(), {})
        stage.publish(Counts(), {kind: records})
        return stage.uri

    examples = [Example(id=str(n), kind="ift", prompt=text(f"seed{n}"), completion="-") for n in range(seeds)]
    before = [
        publish(
            "prompts", "prompts", [Prompt(id=prompt, text=prompt) for prompt in prompts], PromptsSettings(seed=number)
        )
        for number, prompts in enumerate(earlier)
    ]
    return Round(str(root), publish("base_model", "none", []), publish("seed_data", "ift", examples), before)


def test_without_ift_the_demonstrations_are_eft_s(tmp_path: Path, serve: Serve) -> None:
    """data.ift 0: the human prompts that are left are those whose replies the judge learns to score."""
    stage = Stage(str(tmp_path), "seed_data", Settings(), {})
    seeds = [SeedPrompt(id=str(n), text=text(f"seed{n}"), replies=[]) for n in range(8)]
    stage.publish(Counts(), {"ift": [], "eft": seeds})
    script = new_tasks()
    replace(a_round(tmp_path / "other"), seed_data=stage.uri).write(serve(script), count=3, wave=3)
    assert all(set(shots(body)) == {seed.text for seed in seeds} for body in script.bodies)


def test_later_turns_are_no_demonstrations_but_new_prompts_differ_from_them(tmp_path: Path, serve: Serve) -> None:
    """Three first turns are shown, one after a system message; what the writer repeats of a later one is not novel."""
    before = [{"role": "user", "content": "-"}, {"role": "assistant", "content": "-"}]
    histories: list[Messages] = [[], [], [{"role": "system", "content": "-"}], before]
    examples = [
        Example(id=str(n), kind="ift", prompt=text(f"seed{n}"), completion="-", history=history)
        for n, history in enumerate(histories)
    ]
    stage = Stage(str(tmp_path), "seed_data", Settings(), {})
    stage.publish(Counts(), {"ift": examples})
    script = writes(lambda number: text("seed3") if number == 1 else text(f"task{number}"))
    made = replace(a_round(tmp_path / "other"), seed_data=stage.uri).write(serve(script), count=2, wave=3)
    assert all(set(shots(body)) == {text(f"seed{n}") for n in range(3)} for body in script.bodies)
    assert made.counts.dropped == {"prompt: not novel": 1}


def test_waves_are_whole_until_there_are_enough_prompts(tmp_path: Path, serve: Serve) -> None:
    """5 wanted, 3 a wave, all accepted: 3 + 3 attempts, and the sixth prompt is more than asked for.

    All words differ, so each prompt is as novel as can be: 1. The endpoint counts 2 tokens an answer.
    """
    script = new_tasks()
    this = a_round(tmp_path)
    made = this.write(serve(script), count=5, wave=3)
    assert len(script.bodies) == 6
    assert made.counts.kept == {"prompts": 5}
    assert made.counts.dropped == {"prompt: more than asked for": 1}
    assert (made.metrics, made.tokens) == ({"prompt_novelty": 1.0}, 12)
    assert this.written(made) == [text(f"task{body['seed']}") for body in script.bodies[:5]]
    assert set(made.parents) == {"writer", "seed_data"}


def test_the_writer_is_asked_as_the_paper_does(tmp_path: Path, serve: Serve) -> None:
    """T = 0.6, top-p = 0.9 (section 3.1.3); a new task would start with "Task"; each attempt has a seed of its own."""
    script = new_tasks()
    a_round(tmp_path).write(serve(script), count=4, wave=4)
    assert {(body["temperature"], body["top_p"], body["max_tokens"]) for body in script.bodies} == {(0.6, 0.9, 256)}
    assert all("\nTask" in body["stop"] for body in script.bodies)
    assert len({body["seed"] for body in script.bodies}) == 4


@pytest.mark.parametrize(
    ("seeds", "earlier", "from_seeds", "generated"),
    [
        (20, 5, 6, 2),
        (20, 1, 7, 1),  # a seed stands in for the second one
        (20, 0, 8, 0),
        (4, 5, 4, 2),
        (4, 0, 4, 0),  # no more are there
    ],
)
def test_six_shots_are_seeds_and_two_were_generated_where_there_are_so_many(
    tmp_path: Path, serve: Serve, seeds: int, earlier: int, from_seeds: int, generated: int
) -> None:
    """The first wave of a round; the prompts generated earlier come from two rounds before."""
    before = [text(f"earlier{n}") for n in range(earlier)]
    this = a_round(tmp_path, seeds, [before[:2], before[2:]])
    script = new_tasks()
    this.write(serve(script), count=3, wave=3)
    for body in script.bodies:
        given = shots(body)
        assert len(set(given)) == len(given)
        assert sum(shot.startswith("seed") for shot in given) == from_seeds
        assert sum(shot in before for shot in given) == generated
    assert len({tuple(shots(body)) for body in script.bodies}) == 3  # each attempt has a draw of its own


def test_a_wave_shows_what_the_waves_before_it_had_accepted(tmp_path: Path, serve: Serve) -> None:
    """3 a wave, 4 wanted: nothing is generated before the first wave; the second shows 2 of the first's 3."""
    script = new_tasks()
    this = a_round(tmp_path)
    this.write(serve(script), count=4, wave=3)
    first = {text(f"task{body['seed']}") for body in script.bodies[:3]}
    assert [len(first & set(shots(body))) for body in script.bodies] == [0, 0, 0, 2, 2, 2]
    assert [len(shots(body)) for body in script.bodies] == [8] * 6


def test_what_is_not_accepted_is_counted_by_reason(tmp_path: Path, serve: Serve) -> None:
    """13 attempts in one wave: 2 prompts, 3 that repeat something, 1 cut off, 1 refused, one for each of 6 filters."""
    answers = [
        said("Name four common rivers"),
        said("Task 9: name four common RIVERS!"),  # the first one again
        said(text("seed3")),
        said(text("earlier0")),
        said("Name four common lakes, and then the", "length"),
        said("Too short"),
        said("word " * 151),
        said("Draw a map of the river"),
        said("Write a program that adds numbers"),
        said("(list) three kinds of bread"),
        said("I'm sorry, but I can't help with that request today."),
        said("Écris une lettre à ma mère"),
        said('"Explain why bread dough needs to rest"'),
    ]
    script = Script(lambda number, _: answers[number - 1])
    this = a_round(tmp_path, earlier=[[text("earlier0")]])
    made = this.write(serve(script), count=2, wave=13)
    assert this.written(made) == ["Name four common rivers", "Explain why bread dough needs to rest"]
    assert made.counts.kept == {"prompts": 2}
    assert made.counts.dropped == {
        "prompt: not novel": 3,
        "prompt: cut off by length": 1,
        "prompt: too short": 1,
        "prompt: too long": 1,
        "prompt: needs more than text": 1,
        "prompt: asks for a program": 1,
        "prompt: starts with punctuation": 1,
        "prompt: the writer refused": 1,
        "prompt: starts with a non-ASCII character": 1,
    }
    assert set(made.parents) == {"writer", "seed_data", "earlier_1"}


def test_after_a_crash_the_same_prompts_are_made_and_only_what_is_missing_is_asked_for(
    tmp_path: Path, serve: Serve
) -> None:
    """3 a wave, the endpoint breaks down at the fifth request: the second one of the second wave.

    Four attempts are kept, the fifth and the sixth are made anew, from the same demonstrations with the same seeds.
    """
    whole, broken, resumed = new_tasks(), new_tasks(refused=5), new_tasks()
    expected = a_round(tmp_path / "whole").write(serve(whole), count=5, wave=3)
    this = a_round(tmp_path / "crashed")
    with pytest.raises(UserError, match="refused"):
        this.write(serve(broken), count=5, wave=3)
    assert len(broken.bodies) == 5
    made = this.write(serve(resumed), count=5, wave=3)
    assert resumed.bodies == whole.bodies[4:]
    assert (made.key, made.digest, made.counts) == (expected.key, expected.digest, expected.counts)
    assert made.tokens == expected.tokens == 12


def test_a_finished_stage_asks_nobody(tmp_path: Path, serve: Serve) -> None:
    this = a_round(tmp_path)
    made = this.write(serve(new_tasks()), count=2, wave=2)
    assert this.write("", count=2, wave=2) == made


def test_too_few_prompts_after_all_waves_name_the_settings(tmp_path: Path, serve: Serve) -> None:
    """A writer that repeats itself: 2 wanted, at most 2 x 3 = 6 attempts, 4 a wave. After 4 another wave is begun,
    after 8 none; the first attempt is a prompt, the other 7 are not novel. Nothing is published."""
    script = writes(lambda number: "Name four common rivers")
    this = a_round(tmp_path)
    with pytest.raises(UserError, match=r"1 of 2 prompts in 8 attempts \(7 not novel\)") as failure:
        this.write(serve(script), count=2, wave=4, max_attempts_per_prompt=3)
    assert len(script.bodies) == 8
    assert all(setting in str(failure.value) for setting in ("prompts.count", "prompts.novelty", "prompts.source"))
    with pytest.raises(UserError, match="1 of 2 prompts"):  # the attempts are kept: nothing is asked again
        this.write("", count=2, wave=4, max_attempts_per_prompt=3)


def test_the_few_shot_prompt_holds_the_shots_and_nothing_else() -> None:
    """Its length depends on its shots alone: it does not grow from call to call."""
    prompt = few_shot(["one\nline", "two"])
    assert prompt.endswith("Task 1: one line\nTask 2: two\nTask 3:")
    assert few_shot(["one\nline", "two"]) == prompt


def test_seed_data_of_another_language_decide_the_filters_and_what_the_writer_is_asked(
    tmp_path: Path, serve: Serve
) -> None:
    """Three Russian prompts, of which the second repeats the first; by the rules for English none would be fit."""
    answers = [
        "Задача 9: Напиши короткое письмо соседу о цветах.",
        "Напиши короткое письмо соседу о цветах",
        "Объясни школьнику, почему небо голубое.",
    ]
    script = writes(lambda number: answers[number - 1])
    this = a_round(tmp_path)
    stage = Stage(str(tmp_path), "seed_data", SeedDataSettings(messages="-", language="ru"), {})
    examples = [Example(id=str(n), kind="ift", prompt=text(f"seed{n}"), completion="-") for n in range(8)]
    stage.publish(Counts(), {"ift": examples})
    this = replace(this, seed_data=stage.uri)
    made = this.write(serve(script), count=2, wave=3)
    assert this.written(made) == ["Напиши короткое письмо соседу о цветах.", answers[2]]
    assert made.counts.dropped == {"prompt: not novel": 1}
    assert "in the language of these tasks" in script.bodies[0]["messages"][-1]["content"]


def test_a_written_prompt_too_close_to_an_evaluation_text_is_dropped(tmp_path: Path, serve: Serve) -> None:
    """The first repeats an evaluation text but for one word of five, the second a prompt that is held out."""
    answers = ["Please name four common rivers", "Why is the sky blue?", "Name three sorts of bread"]
    this = a_round(tmp_path)
    seeds = Stage(str(tmp_path), "seed_data", Settings(), {"other": Parent(uri="-", digest="-")})
    held_out = SeedPrompt(id="h", text="why is the SKY blue", replies=[])
    seeds.publish(Counts(), {"ift": read_records(this.seed_data, "ift", Example), "eval": [held_out]})
    texts = Stage(str(tmp_path), "evaluation_texts", Settings(), {})
    limit = Observation(id="novelty", metric="novelty", item="", values=[0.7])
    text_ = EvaluationText(id="0", set="MT-Bench", text="Name four common rivers.")
    texts.publish(Counts(), {"texts": [text_], "limits": [limit]})
    settings = PromptsSettings(concurrency=1, count=1, wave=3)
    endpoint = serve(writes(lambda number: answers[number - 1]))
    made = write_prompts(this.root, settings, this.writer, seeds.uri, [], endpoint, texts.uri)
    assert this.written(made) == [answers[2]]
    assert made.counts.dropped == {"prompt: too close to MT-Bench": 1, "prompt: too close to held-out prompts": 1}
    assert set(made.parents) == {"writer", "seed_data", "evaluation_texts"}
