"""`srlm gc`: what nobody needs any more leaves the store, the caches of this machine too."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from components.core.claims import SAFE_AGE
from components.core.errors import UserError
from pipelines.cli.options import Debug, Json, Store, TrackingUri, console, print_json, talk

if TYPE_CHECKING:
    from components.run.garbage import Part, Plan, Rules

commands = typer.Typer()

UNITS = {"h": "hours", "d": "days", "w": "weeks"}
Row = tuple[str, str, str]  # goes or stays, what, why


@commands.command()
def gc(
    older_than: Annotated[
        str, typer.Option(help="What was written or used since stays: 36h, 30d, 8w; 1d or more.")
    ] = "30d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and why the rest stays.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without asking.")] = False,
    every: Annotated[bool, typer.Option("--list", help="One line for each folder, too.")] = False,
    with_runs: Annotated[
        bool,
        typer.Option("--with-runs", help="Records of old runs go, too, unless a version names them."),
    ] = False,
    forget: Annotated[
        list[str], typer.Option(metavar="RUN", help="A run that keeps nothing any more; may be repeated.")
    ] = [],  # noqa: B006
    store: Store = "",
    tracking_uri: TrackingUri = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Remove stages, models, checkpoints and caches that no registered version and no recent run needs.

    Example: srlm gc --older-than 8w --dry-run
    """
    from components.registry.versions import all_versions
    from components.run.garbage import Rules, plan
    from pipelines.local.run import RunOptions, servers

    rules = Rules(parse_age(older_than), forget, with_runs)
    if as_json and not dry_run:
        raise UserError("--json tells what would go", "Give --dry-run, too.")
    with servers(RunOptions(store, tracking_uri), talk(as_json)) as addresses:
        judge = partial(plan, addresses["store"], partial(all_versions, addresses["tracking_uri"]), rules)
        judged = judge()
        if as_json:
            print_json(_document(judged, rules))
            return
        _show(judged, rules, every)
        if dry_run or not _goes(judged, rules):
            _say("nothing was removed" if dry_run else "there is nothing to remove")
        elif yes or (console.is_terminal and typer.confirm("Remove what goes?")):
            # once more, should the registry have changed while a person was thinking
            _remove(addresses["store"], judged if yes else judge(), rules)
        else:
            _say("nothing was removed; --yes removes what goes")


def parse_age(text: str) -> timedelta:
    """36h, 30d, 8w. Raises UserError for anything else, and for less than runs need to say what they use."""
    parsed = re.fullmatch(r"(\d+)([hdw])", text)
    if not parsed:
        raise UserError(f"--older-than {text} is no age", "Give hours, days or weeks: 36h, 30d, 8w.")
    age = timedelta(**{UNITS[parsed[2]]: int(parsed[1])})
    if age < SAFE_AGE:
        raise UserError(f"--older-than {text} could take what a run is using now", f"Give {SAFE_AGE.days}d or more.")
    return age


def _show(judged: Plan, rules: Rules, every: bool) -> None:
    """Folders and bytes by what they are and why they go or stay; with `every` each folder first."""
    from pipelines.local.caches import cached

    counts: Counter[Row] = Counter()
    sizes: Counter[Row] = Counter()
    for part in judged.parts:
        row = ("goes" if part.goes else "stays", part.what, part.reason)
        counts[row] += 1
        sizes[row] += part.bytes
        if every:
            _say(f"{row[0]:5}  {part.bytes:>14,}  {part.folder.modified:%Y-%m-%d}  {part.folder.place}  {part.reason}")
    for one in cached(rules):
        row = ("goes", one.what, "not used of late") if one.goes else ("stays", one.what, "used of late")
        counts[row] += 1
        sizes[row] += one.bytes
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("", "what", "folders", "size", "why"):
        table.add_column(column, overflow="fold", justify="right" if column in ("folders", "size") else "left")
    for row in sorted(counts):
        table.add_row(row[0], row[1], f"{counts[row]:,}", size(sizes[row]), escape(row[2]))
    console.print(table)
    if judged.others:
        _say(f"{judged.others:,} objects of the store are neither a stage's nor a run's: they are not touched")


def _document(judged: Plan, rules: Rules) -> dict[str, object]:
    """For scripts: each folder of the store and each cache, with its bytes, whether it goes, and why."""
    from pipelines.local.caches import cached

    parts = [
        {"place": part.folder.place, "what": part.what, "bytes": part.bytes, "goes": part.goes, "why": part.reason}
        for part in judged.parts
    ]
    caches = [{"what": one.what, "bytes": one.bytes, "goes": one.goes} for one in cached(rules)]
    return {"folders": parts, "caches": caches, "untouched_objects": judged.others}


def _goes(judged: Plan, rules: Rules) -> bool:
    from pipelines.local.caches import cached

    return bool(judged.goes()) or any(one.goes for one in cached(rules))


def _remove(store: str, judged: Plan, rules: Rules) -> None:
    from components.core.progress import Progress
    from components.run.garbage import carry_out
    from pipelines.local.caches import cached, remove_cached

    removed: list[Part] = []
    with Progress("removing", len(judged.goes())) as progress:
        for part in carry_out(store, judged):
            removed.append(part)
            progress.advance()
    caches = [one for one in cached(rules) if one.goes]
    for one in caches:
        remove_cached(one)
    _say(summary(removed, sum(one.bytes for one in caches)))


def summary(removed: Sequence[Part], cached: int) -> str:
    """What was removed, and what stayed because somebody had begun to use it."""
    gone = [part for part in removed if part.objects]
    stayed = len(removed) - len(gone)
    text = f"removed {_counted(part.what for part in gone)} ({size(sum(part.bytes for part in gone) + cached)})"
    return text + (f"; {stayed:,} stayed: they are used since, or another gc removes them" if stayed else "")


def _counted(kinds: Iterable[str]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in sorted(Counter(kinds).items())) or "caches"


def size(number: float) -> str:
    """Bytes as people read them: 950 B, 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
