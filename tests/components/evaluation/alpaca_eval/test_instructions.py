"""What may be compared: reference outputs that belong to the instructions, each of which stands there once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.claims import USED
from components.core.errors import UserError
from components.core.records import Instruction, Manifest
from components.core.stage import read_records
from components.core.store import join
from components.evaluation.alpaca_eval.instructions import ALPACA_EVAL_BEGINS, BUILT_IN, import_instructions
from components.evaluation.alpaca_eval.settings import InstructionsSettings

Entries = list[dict[str, Any]]


def entry(text: str, output: str = "an output") -> dict[str, Any]:
    return {"instruction": text, "dataset": "set", "output": output, "generator": "people"}


def written(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def imported(folder: Path, reference: Any, asked: Entries | None = None, **settings: Any) -> Manifest:
    names = {"reference": written(folder, "reference.json", reference)}
    names |= {"instructions": written(folder, "asked.json", asked)} if asked else {}
    return import_instructions(str(folder / "store"), InstructionsSettings(**names, **settings))


def records(folder: Path, manifest: Manifest) -> list[Instruction]:
    return read_records(join(str(folder / "store"), manifest.stage, manifest.key), "instructions", Instruction)


def test_instructions_keep_their_place_in_the_set(tmp_path: Path) -> None:
    found = records(tmp_path, imported(tmp_path, [entry("a", "1"), entry("b", "2")]))
    assert [(one.id, one.text, one.reference, one.generator) for one in found] == [
        ("0", "a", "1", "people"),
        ("1", "b", "2", "people"),
    ]


def test_instructions_beyond_the_count_are_counted_as_dropped(tmp_path: Path) -> None:
    manifest = imported(tmp_path, [entry("a"), entry("b"), entry("c")], count=2)
    assert manifest.counts.kept == {"instructions": 2}
    assert manifest.counts.dropped == {"instruction: more than asked for": 1}


def test_the_key_follows_the_content_and_not_the_path(tmp_path: Path) -> None:
    first = imported(tmp_path, [entry("a")])
    (tmp_path / "elsewhere.json").write_bytes((tmp_path / "reference.json").read_bytes())
    settings = InstructionsSettings(reference=str(tmp_path / "elsewhere.json"))
    assert import_instructions(str(tmp_path / "store"), settings).key == first.key


def test_a_separate_file_of_instructions_is_asked(tmp_path: Path) -> None:
    asked = [{"instruction": "a", "dataset": "theirs"}]
    assert records(tmp_path, imported(tmp_path, [entry("a", "1")], asked))[0].dataset == "theirs"


@pytest.mark.parametrize(
    ("reference", "asked", "problem"),
    [
        ([entry("a")], [entry("a"), entry("b")], "holds 1 outputs for 2 instructions"),
        ([entry("b"), entry("a")], [entry("a"), entry("b")], "entry 1 of .* answers another instruction"),
        ([entry("a"), entry("B")], [entry("a"), entry("b")], "entry 2 of .* answers another instruction"),
        ([entry("a"), entry("b"), entry("a")], None, "holds 1 instructions more than once"),
        ([], None, "no list of instructions"),
        ({"instruction": "a"}, None, "no list of instructions"),
        ([{"instruction": "a"}], None, "entry 1 of .* has no text under 'output'"),
        ([entry("a"), {"instruction": 3, "output": "x"}], None, "entry 2 of .* has no text under 'instruction'"),
        (["a"], None, "entry 1 of .* has no text under 'instruction'"),
        ("[{", None, "is no JSON"),
    ],
)
def test_instructions_and_outputs_that_do_not_match_are_refused_before_anything_is_stored(
    tmp_path: Path, reference: Any, asked: Entries | None, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        imported(tmp_path, reference, asked)
    assert {path.name for path in (tmp_path / "store").rglob("*") if path.is_file()} <= {USED}  # for `srlm gc` alone


def test_difficulties_must_cover_the_set(tmp_path: Path) -> None:
    difficulty = written(tmp_path, "difficulty.csv", "index,instruction_difficulty\n0,0.5\n")
    found = records(tmp_path, imported(tmp_path, [entry("a")], difficulty=difficulty))
    assert found[0].difficulty == 0.5
    with pytest.raises(UserError, match="difficulty of 1 instructions is unknown"):
        imported(tmp_path, [entry("a"), entry("b")], difficulty=difficulty)


def test_difficulties_of_another_set_are_refused(tmp_path: Path) -> None:
    """By place alone nobody sees whose they are, but their number tells: of a part of the set, each is another's."""
    difficulty = written(tmp_path, "difficulty.csv", "index,instruction_difficulty\n0,0.5\n1,0.1\n2,0.2\n")
    with pytest.raises(UserError, match="1 instructions more than the 2 of the set"):
        imported(tmp_path, [entry("a"), entry("b")], difficulty=difficulty)
    found = records(tmp_path, imported(tmp_path, [entry("a"), entry("b"), entry("c")], difficulty=difficulty, count=2))
    assert [one.difficulty for one in found] == [0.5, 0.1]


BEGINS = [entry(text) for text in (*ALPACA_EVAL_BEGINS, "another")]


def test_alpaca_evals_instructions_in_another_order_are_refused(tmp_path: Path) -> None:
    difficulty = written(tmp_path, "difficulty.csv", "index,instruction_difficulty\n0,0.5\n1,0.1\n2,0.2\n")
    assert [one.difficulty for one in records(tmp_path, imported(tmp_path, BEGINS, difficulty=difficulty))] == [
        0.5,
        0.1,
        0.2,
    ]
    with pytest.raises(UserError, match="in another order"):
        imported(tmp_path, BEGINS[::-1], difficulty=difficulty)


def test_difficulties_are_matched_by_text_where_the_file_has_it(tmp_path: Path) -> None:
    """In whatever order; df_gamed.csv's form, with two baselines."""
    known = [("another", 0.9, 3), (f'"{ALPACA_EVAL_BEGINS[1]}"', 0.8, 2), (f'"{ALPACA_EVAL_BEGINS[0]}"', 0.7, 1)]
    rows = [
        f"{model},9,{text},{preference},{length},{hard}\n"
        for model, length in (("brief", -1), ("verbose", 1))
        for text, preference, hard in known
    ]
    header = "model,index,instruction,preference,std_delta_len,instruction_difficulty\n"
    difficulty = written(tmp_path, "difficulty.csv", header + "".join(rows))
    for asked in (BEGINS, BEGINS[::-1]):
        found = {one.text: one for one in records(tmp_path, imported(tmp_path, asked, difficulty=difficulty))}
        assert [found[one["instruction"]].difficulty for one in BEGINS] == [1, 2, 3]
        assert found["another"].gamed == [(0.9, -1), (0.9, 1)]
    with pytest.raises(UserError, match="line 2 of .* an instruction that is not in the set .'another'"):
        imported(tmp_path, BEGINS[:2], difficulty=difficulty)
    with pytest.raises(UserError, match="difficulty of 1 instructions is unknown"):
        imported(tmp_path, [*BEGINS, entry("a fourth")], difficulty=difficulty)


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_text(json.dumps([entry("a")]), encoding="utf-8-sig")
    with pytest.raises(UserError, match=r"byte order mark"):
        import_instructions(str(tmp_path / "store"), InstructionsSettings(reference=str(path)))


def test_the_demos_set_holds_twelve_different_instructions() -> None:
    entries = json.loads((BUILT_IN / "demo.json").read_text())
    assert len({one["instruction"] for one in entries}) == len(entries) == 12
