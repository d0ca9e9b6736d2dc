"""A verdict to read: for the KFP UI, for CI, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from components.core.records import Check, Decision

MEANING = {
    "promote": "better than the champion, by proof",
    "hold": "not proven better: the champion stays, the run goes on",
    "stop": "the run ends here: nothing more is trained from this model",
}
UNRIVALLED = "nothing speaks against it, and there is no other champion"


def verdict_markdown(name: str, decision: Decision, checks: Sequence[Check]) -> str:
    """A heading, the reasons, and one row for each rule; all of it is our own text, none a model's."""
    lines = [f"## {name}: {decision.decision}", "", f"{_meaning(decision)}.", ""]
    lines += [f"* {reason}" for reason in decision.reasons]
    lines += ["", "| rule | metric | outcome | value | interval | items | asked |", "|---|---|---|---|---|---|---|"]
    lines += [_row(check) for check in checks]
    return "\n".join(lines) + "\n"


def _meaning(decision: Decision) -> str:
    unrivalled = decision.champion in ("", decision.id)
    return UNRIVALLED if decision.decision == "promote" and unrivalled else MEANING[decision.decision]


def _row(check: Check) -> str:
    asked = check.reason.rpartition(": ")[2]  # a reason is what was seen, then what the rule asks for
    cells = (check.rule, check.metric, check.outcome, _number(check.value), _interval(check), str(check.items), asked)
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(check: Check) -> str:
    return "-" if check.low is None or check.high is None else f"{check.low:.3f} to {check.high:.3f}"
