"""The ledger for people: a line for the terminal, tables and notes for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.core.page import Table
from components.run.tables import format_figure

Ledger = Mapping[str, Any]
NAMED = 6  # of the line: what took most
TIME_NOTE = (
    "engine: answers are awaited. starting: servers, pods, processes, imports, models that are loaded. waiting: a "
    "server is busy or away, and nobody is answered. computing: what a stage does between these. steps: what steps do "
    "beside their stages. starting steps: no step runs. unattributed: nobody knows."
)
COST_NOTE = (
    "Tokens are those that servers say, and a rate is that of completion tokens in the time that answers were awaited. "
    "GPU hours are those of stages that say what they held, from their start to their end; a dash is not known. MFU: "
    "the FLOP/s that training needs as a share of its GPUs' peak in bf16."
)


def ledger_line(ledger: Ledger) -> str:
    """In one line what the time went on, what took most first; "" where nobody kept it."""
    if not ledger:
        return ""
    wall, lost = ledger["total"]["wall"], ledger["total"]["seconds"].get("unattributed", 0.0)
    took = {name: told["wall"] - told["seconds"].get("unattributed", 0.0) for name, told in ledger["done"].items()}
    shown = dict(sorted(took.items(), key=lambda one: -one[1])[:NAMED])
    shown |= {"the rest": wall - lost - sum(shown.values()), "unattributed": lost}
    named = ", ".join(f"{name} {100 * seconds / wall:.0f} %" for name, seconds in shown.items() if seconds > wall / 200)
    at_once = f" (steps that ran at once took {wall:,.0f} s)" if wall > 1.05 * ledger["seconds"] else ""
    return f"of {ledger['seconds']:,.0f} s{at_once}: {named}"


def ledger_tables(ledger: Ledger) -> list[Table]:
    """The seconds by what was done and by round, and what that cost; none where nobody kept it."""
    if not ledger:
        return []
    all_of_it = {"all": ledger["total"]}
    rounds = {name.upper() or "the run itself": told for name, told in ledger["rounds"].items()}
    return [
        _times("time by what was done", "what", ledger["done"] | all_of_it),
        _times("time by round", "round of", rounds | all_of_it),
        _costs(ledger["done"] | all_of_it),
    ]


def _times(caption: str, first: str, groups: Ledger) -> Table:
    """A row a group; a column for each kind that took any time."""
    total = groups["all"]
    kinds = sorted(total["seconds"], key=lambda kind: -total["seconds"][kind])
    rows = []
    for name, told in groups.items():
        seconds = (f"{told['seconds'][kind]:,.1f}" if kind in told["seconds"] else "-" for kind in kinds)
        rows.append((name, f"{told['wall']:,.1f}", format_figure(told["wall"] / total["wall"], share=True), *seconds))
    return Table(f"{caption}, in seconds", (first, "all", "share", *kinds), rows, TIME_NOTE)


def _costs(groups: Ledger) -> Table:
    """A row a group that has asked, trained, or moved anything."""
    amounts = {
        "answers": "answers",
        "prompt_tokens": "tokens in",
        "completion_tokens": "tokens out",
        "trained_tokens": "tokens trained on",
    }
    bill, rows = groups["all"]["gpu_seconds"], []
    for name, told in groups.items():
        counted, held = told["amounts"], told["gpu_seconds"]
        rate, unit = told["token_rate"], told["rate_unit"]
        moved = [f"{counted.get(way, 0) / 1e6:,.1f}" for way in ("bytes_up", "bytes_down")]
        rows.append(
            (
                name,
                *(f"{counted[amount]:,.0f}" if amount in counted else "-" for amount in amounts),
                "-" if rate is None else f"{rate:,.1f}" + (f" a {unit}" if unit else ""),
                "-" if held is None else f"{held / 3600:,.2f}",
                format_figure(held / bill if held is not None and bill else None, share=True),
                format_figure(told["mfu"], share=True),
                *moved,
            )
        )
    columns = ("what", *amounts.values(), "tokens/s", "GPU hours", "share of them", "MFU", "MB up", "MB down")
    return Table("what it cost", columns, rows, COST_NOTE)


def ledger_notes(ledger: Ledger) -> list[str]:
    """What was wasted, and what was saved, in sentences."""
    if not ledger:
        return ["This run was made by a version that kept no ledger."]
    total, amounts = ledger["total"], ledger["total"]["amounts"]
    notes = [f"{ledger_line(ledger)[0].upper()}{ledger_line(ledger)[1:]}."]
    if failed := amounts.get("retries"):
        waiting = total["seconds"].get("waiting", 0.0)
        notes.append(f"{failed:,.0f} requests failed and were sent again; in {waiting:,.1f} s nobody was answered.")
    if silent := amounts.get("unmetered"):
        notes.append(f"Of {silent:,.0f} of {amounts['answers']:,.0f} answers the server did not say all their tokens.")
    if earlier := ledger["earlier"]:
        notes.append(f"Beside that, attempts that did not come to their end took {_took(earlier)}, or more.")
    if ledger["saved"]:
        unknown = ledger["saved_unknown"]
        more = f", and of {unknown} more nobody knows" if unknown else ""
        saved = _took(ledger["saved"])
        notes.append(f"Stages that were there already cost nothing here; they had taken {saved}{more}.")
    return notes


def _took(spent: Ledger) -> str:
    tokens = spent["amounts"].get("completion_tokens")
    return f"{sum(spent['seconds'].values()):,.0f} s" + (f" and {tokens:,.0f} tokens written" if tokens else "")
