"""The ledger of a run adds up: every second of every stage, of what steps do beside them, and of what lies between."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from components.core.course import Course
from components.core.journal import write_journal
from components.core.spent import Spent
from components.run.ledger import ledger
from components.run.ledger_tables import ledger_line, ledger_notes, ledger_tables
from components.run.peaks import peak

RUN = "run"


def stage(name: str, spent: Spent, **also: Any) -> dict[str, Any]:
    known = {key: value.model_dump() if isinstance(value, Spent) else value for key, value in also.items()}
    return {"name": name, "spent": spent.model_dump(), "reused": "saved" in also, **known}


STAGES = [
    stage(
        "m1/sampling",
        Spent(
            seconds={"starting": 20, "engine": 38, "waiting": 2},
            amounts={"completion_tokens": 1520, "answers": 4, "retries": 3},
            gpus=2,
        ),
    ),
    stage("m1/judging", Spent(seconds={"engine": 10}, amounts={"completion_tokens": 400, "answers": 8}, gpus=2)),
    stage(
        "m2/dpo",
        Spent(seconds={"training": 100, "computing": 20}, amounts={"flops": 4 * 9.89e15}, gpus=1, gpu="NVIDIA H100"),
        earlier=Spent(seconds={"training": 30}),
    ),
    stage("m0/evaluation", Spent(seconds={"fetching": 1}), saved=Spent(seconds={"engine": 500})),
    stage("sft/evaluation", Spent(seconds={"fetching": 1}), saved=None),
]


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    """Steps from 0 to 80 s and from 90 to 215; of them 6 and 4 s are not their stages', 4 nobody knows of."""
    courses = [
        Course("sample M1", 0, 80, "done", spent=Spent(seconds={"registering": 6}).model_dump()),
        Course("train M2", 90, 215, "done", spent=Spent(seconds={"unattributed": 4}).model_dump()),
    ]
    for number, course in enumerate(courses):
        write_journal(str(tmp_path), RUN, "steps", str(number), asdict(course))
    return ledger(str(tmp_path), RUN, STAGES)


def test_every_second_is_told_once(found: dict[str, Any]) -> None:
    """60 + 10 + 120 + 1 + 1 of stages, 6 + 4 of steps, 10 between them: 212, of which 4 are unattributed."""
    assert found["seconds"] == 215
    assert found["total"]["wall"] == 212
    assert found["attributed"] == pytest.approx(1 - 4 / 212)
    for group in ("rounds", "done"):
        assert sum(told["wall"] for told in found[group].values()) == 212
    assert {name: told["wall"] for name, told in found["rounds"].items()} == {
        **{"m2": 124, "m1": 76, "": 10, "m0": 1, "sft": 1}
    }
    assert list(found["done"])[:2] == ["training", "sampling"] and found["done"]["starting steps"]["wall"] == 10


def test_rates_are_of_each_gpu_and_of_the_time_that_answers_were_awaited(found: dict[str, Any]) -> None:
    """1,520 tokens in 38 s on 2 GPUs: 20 a second and GPU; 400 in 10 s: 20. GPU seconds: 60 x 2, 10 x 2, 120.

    4 x 9.89e15 FLOP in 100 s on a GPU that can do 9.89e14 a second: 40 %.
    """
    sampling, judging, training = (found["done"][name] for name in ("sampling", "judging", "training"))
    assert (sampling["token_rate"], sampling["rate_unit"], judging["token_rate"]) == (20, "GPU", 20)
    assert [told["gpu_seconds"] for told in (sampling, judging, training)] == [120, 20, 120]
    assert training["mfu"] == pytest.approx(0.4) and sampling["mfu"] is None


def test_what_was_wasted_and_what_was_saved_is_told(found: dict[str, Any]) -> None:
    """Reused stages cost what it took to find them: 2 s, and not the 500 that one of them had taken."""
    assert found["earlier"]["seconds"] == {"training": 30}
    assert (found["saved"]["seconds"], found["saved_unknown"]) == ({"engine": 500}, 1)
    line, *notes = ledger_notes(found)
    assert line.startswith("Of 215 s: training 57 %, sampling 28 %, ") and line.endswith("unattributed 2 %.")
    assert notes == [
        "3 requests failed and were sent again; in 2.0 s nobody was answered.",
        "Beside that, attempts that did not come to their end took 30 s, or more.",
        "Stages that were there already cost nothing here; they had taken 500 s, and of 1 more nobody knows.",
    ]


def test_tables_add_up_and_show_a_dash_for_what_is_not_known(found: dict[str, Any]) -> None:
    times, rounds, costs = ledger_tables(found)
    assert times.rows[-1][:3] == rounds.rows[-1][:3] == ("all", "212.0", "100.0 %")
    row = dict(zip(costs.columns, next(row for row in costs.rows if row[0] == "sampling"), strict=True))
    assert (row["tokens out"], row["tokens in"], row["tokens/s"]) == ("1,520", "-", "20.0 a GPU")
    assert (row["GPU hours"], row["share of them"], row["MFU"]) == ("0.03", "46.2 %", "-")  # 120 of 260 s


def test_a_run_without_a_ledger_shows_none(tmp_path: Path) -> None:
    write_journal(str(tmp_path), RUN, "steps", "old", asdict(Course("sample M1", 0, 80, "done")))
    assert ledger(str(tmp_path), RUN, []) == {}
    assert (ledger_line({}), ledger_tables({})) == ("", [])
    assert "kept no ledger" in ledger_notes({})[0]


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", 9.89e14),
        ("NVIDIA H100 PCIe", 7.56e14),
        ("NVIDIA A100-SXM4-80GB", 3.12e14),
        ("Tesla T4", 6.5e13),
        ("NVIDIA L40S", 3.62e14),
        ("NVIDIA L40", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("", None),
    ],
)
def test_a_gpu_s_peak_is_found_by_its_name_or_not_at_all(name: str, flops: float | None) -> None:
    assert peak(name) == flops
