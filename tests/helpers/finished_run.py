"""A run of two models in a folder, as its steps would have left it, made in a moment: what a report is drawn from.

M1 wins 20 of 40 instructions, M2 these and 10 more. M1's one round has 2 prompts with 2 candidates each, whose texts
are HOSTILE; three of four are judged, with scores 5, 3 and 1; the fourth has a judgement without a score.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.core.context import RunContext
from components.core.journal import write_journal
from components.core.records import (
    Candidate,
    Check,
    Counts,
    CurvePoint,
    Decision,
    Judgement,
    Manifest,
    Observation,
    Pair,
    Record,
)
from components.core.settings import Settings
from components.core.stage import Stage, parent
from components.core.store import join
from components.metrics.bootstrap import Resampling
from components.metrics.observations import figures

HOSTILE = "</pre></script><script>alert(1)</script><img src='http://127.0.0.1:1/x' onerror='alert(2)'>&lt; {{ 7 * 7 }}"
ITEMS = 40
RUN = "finished"
CANDIDATES = [f"p{prompt}/{n}" for prompt in range(2) for n in range(2)]
SCORES = dict(zip(CANDIDATES, (5.0, 3.0, 1.0, None), strict=True))


class Number(Settings):
    """So that stages of one kind differ."""

    number: int


def make_finished_run(store: Path, gain: int = 10, **changes: Any) -> RunContext:
    """The run's context; `changes` are fields of it. M2 wins `gain` instructions more than M1."""
    recipe = {"name": "toy", "description": HOSTILE, "gate": {"improve": {"win_rate": 0.0}, "resamples": 200}}
    where = dict.fromkeys(("tracking_uri", "endpoint", "judge_endpoint", "annotator_endpoint"), "")
    fields = {"engine": "embedded", "worker_image": "w", "trainer_image": "t", "engine_image": ""} | where | changes
    context = RunContext(store=str(store), run=RUN, recipe=recipe, **fields)
    context.write()
    candidates = made(context, "m1/sampling", {"candidates": [_candidate(id) for id in CANDIDATES]})
    judging = {f"score_{point}_share": share for point, share in ((1, 0.25), (3, 0.25), (5, 0.5))}
    made(
        context,
        "m1/judging",
        {"judgements": [_judgement(id) for id in CANDIDATES]},
        Counts(kept={"judgements": 3}, dropped={"judgement unparsed: no score": 1}),
        {"round_parse_rate": 0.75, **judging},
        candidates,
    )
    pair = Pair(id="p0", prompt="p", chosen="long one", rejected="short", chosen_id="p0/0", rejected_id="p0/1",
                chosen_score=5, rejected_score=3)  # fmt: skip
    counts = Counts(kept={"pairs": 1}, dropped={"prompt: tie": 1})
    made(context, "m1/pairs", {"pairs": [pair]}, counts, {"chosen_length": 8.0, "rejected_length": 5.0})
    curve = [
        CurvePoint(id=str(step), step=step, values={"loss": 0.69 - step / 100, "held_out/margin": step / 10})
        for step in range(1, 31)
    ]
    models = {"m1": "m1/sft", "m2": "m2/dpo"}
    for number, (name, stage) in enumerate(models.items(), 1):
        uri = made(context, stage, {"curve": curve}, Counts(kept={"pairs": number}))
        _note_model(context, name, uri, wins=20 + gain * (number - 1), gate=_gate(context, name))
    return context


def _note_model(context: RunContext, name: str, uri: str, wins: int, gate: str) -> None:
    values = {str(item): (float(item < wins),) for item in range(ITEMS)}
    seen = [Observation(id=item, metric="win_rate", item=item, values=list(value)) for item, value in values.items()]
    metrics = figures({"win_rate": values}, Resampling())
    evaluation = made(context, f"{name}/annotation", {"observations": seen}, Counts(), metrics)
    note = {"name": name, "run": RUN, "uri": uri, "measured": [evaluation], "registered_name": "toy", "version": "1"}
    note |= {"promoted": True, "gate": gate, "verdict": "promote", "reasons": [HOSTILE], "metrics": metrics}
    write_journal(context.store, RUN, "models", name, note | {"started": wins})


def _gate(context: RunContext, name: str) -> str:
    decision = Decision(id="d", decision="promote", reasons=["it is better"], champion="other")
    numbers = {"value": 0.25, "low": 0.1, "high": 0.4, "items": ITEMS}
    told = [("improvement", "win_rate", "pass"), ("floor", "parse_rate", "unknown")]
    checks = [
        Check(id=rule, rule=rule, metric=metric, outcome=outcome, reason=f"{metric}: asked", **numbers)  # type: ignore[arg-type]
        for rule, metric, outcome in told
    ]
    return made(context, f"{name}/gate", {"decision": [decision], "checks": checks})


def made(
    context: RunContext,
    name: str,
    records: dict[str, list[Any]],
    counts: Counts | None = None,
    metrics: dict[str, float] | None = None,
    *parents: str,
) -> str:
    """The URI of the stage, which is published and noted in the run's journal."""
    inputs = {f"input_{n}": parent(uri) for n, uri in enumerate(parents)}
    settings = Number(number=int(name[1]))

    def make() -> Manifest:
        stage = Stage(context.store, name.partition("/")[2], settings, inputs)
        lines: dict[str, list[Record]] = records
        kept = counts or Counts(kept={kind: len(lines) for kind, lines in records.items()})
        return stage.publish(kept, lines, metrics=metrics, tokens=7)

    uri = context.make(name, make)
    assert uri.startswith(join(context.store, ""))
    return uri


def _candidate(id: str) -> Candidate:
    return Candidate(
        id=id, prompt_id=id[:2], prompt=HOSTILE, text=f"{id}: {HOSTILE}", finish_reason="stop", seed=1, tokens=1
    )


def _judgement(id: str) -> Judgement:
    score = SCORES[id]
    told = {"score": score, "unparsed": None if score else "no score", "judge_prompt": "x", "seed": 1, "tokens": 1}
    return Judgement(
        id=f"{id}/0", prompt_id=id[:2], candidate_id=id, completion=f"of {id}: {HOSTILE}", finish_reason="stop", **told
    )
