"""A verdict as people read it."""

from __future__ import annotations

import pytest

from components.core.records import Decision
from components.gate.decide import decide
from components.gate.settings import GatePolicy
from components.gate.verdict import verdict_markdown
from components.metrics.bootstrap import Observed


def rated(rate: float, count: int = 40) -> dict[str, Observed]:
    return {"win_rate": {f"{n:03}": (rate,) for n in range(count)}}


def page(decision: str, champion: str | None = "abc", reasons: tuple[str, ...] = ()) -> list[str]:
    verdict = decide(rated(0.75), rated(0.5), GatePolicy(improve={"win_rate": 0.1}))
    made = Decision(id="own", decision=decision, reasons=list(reasons), champion=champion)  # type: ignore[arg-type]
    return verdict_markdown("m2", made, verdict.checks).splitlines()


def test_the_verdict_stands_first_with_its_reasons() -> None:
    assert page("stop", reasons=("one", "another"))[:6] == [
        "## m2: stop",
        "",
        "the run ends here: nothing more is trained from this model.",
        "",
        "* one",
        "* another",
    ]


@pytest.mark.parametrize(("champion", "meaning"), [("abc", "better"), ("", "nothing"), ("own", "nothing")])
def test_a_first_champion_is_not_called_better_than_another(champion: str, meaning: str) -> None:
    assert page("promote", champion)[2].startswith(meaning)


def test_every_rule_has_a_row_with_what_was_seen_and_what_was_asked() -> None:
    """0.75 against 0.5 on each of 40 items; the others are about what was not measured, with a dash for a number."""
    rows = [line.strip("| ").split(" | ") for line in page("promote") if line.startswith("| ")]
    assert rows[0] == ["rule", "metric", "outcome", "value", "interval", "items", "asked"]
    assert rows[-1] == [
        *["improvement", "win_rate", "pass", "0.250", "0.250 to 0.250", "40"],
        "a gain of more than 0.1 must be proven",
    ]
    assert rows[1] == ["floor", "parse_rate", "unknown", "-", "-", "0", "the floor is 0.5"]
    assert len(rows) == 1 + 9 + 3 + 1 + 1
    assert {len(row) for row in rows} == {7}
