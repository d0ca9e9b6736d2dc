"""A verdict to read: for the KFP UI, for CI, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from components.core.page import Table, markdown_table
from components.core.records import Check, Decision

MEANING = {
    "promote": "better than the champion, by proof",
    "hold": "not proven better: the champion stays, the run goes on",
    "stop": "the run ends here: nothing more is trained from this model",
}
UNRIVALLED = "nothing speaks against it, and there is no other champion"


COLUMNS = ("rule", "metric", "outcome", "value", "interval", "items", "asked")


def verdict_markdown(name: str, decision: Decision, checks: Sequence[Check]) -> str:
    """A heading, the reasons, and one row for each rule; all of it is our own text, none a model's."""
    meaning, *reasons = verdict_lines(decision)
    lines = [f"## {name}: {decision.decision}", "", meaning, "", *(f"* {reason}" for reason in reasons), ""]
    return "\n".join(lines) + "\n" + markdown_table(verdict_table(checks))


def verdict_lines(decision: Decision) -> list[str]:
    """What the decision means, then its reasons."""
    unrivalled = decision.champion in ("", decision.id)
    meaning = UNRIVALLED if decision.decision == "promote" and unrivalled else MEANING[decision.decision]
    return [f"{meaning}.", *decision.reasons]


def verdict_table(checks: Sequence[Check]) -> Table:
    """One row for each rule that was checked."""
    return Table("rules", COLUMNS, [_row(check) for check in checks])


def _row(check: Check) -> tuple[str, ...]:
    asked = check.reason.rpartition(": ")[2]  # a reason is what was seen, then what the rule asks for
    value = "-" if check.value is None else f"{check.value:.3f}"
    known = check.low is not None and check.high is not None
    interval = f"{check.low:.3f} to {check.high:.3f}" if known else "-"
    return check.rule, check.metric, check.outcome, value, interval, str(check.items), asked
