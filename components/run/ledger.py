"""What a run took and what it cost, by round and by what was done: of what its stages and steps have noted.

A run lasts from the start of its first step to the end of its last. Steps that run at once count each for itself, so
what was taken may be more than that; when no step ran, one was being started (pods, processes, imports).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.core.course import Course, read_courses
from components.core.ledger import so_far
from components.core.spent import Spent
from components.run.peaks import peak

STEPS, BETWEEN = "steps", "starting steps"
DONE = dict.fromkeys(("sft", "dpo"), "training") | dict.fromkeys(
    ("annotation", "mt_bench_answers", "mt_bench", "benchmarks"), "evaluation"
)  # kinds of stages, as people call what is done there


@dataclass(frozen=True)
class Line:
    """One stage, what one step does beside its stages, or what lies between steps. `round` is a model's name or ""."""

    round: str
    done: str
    spent: Spent


def ledger(root: str, run: str, stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The run's ledger; empty for a run of a version that kept none.

    `rounds` and `done` are the same lines added up by round and by what was done. `attributed` is the share of the time
    of which it is known what it went on. `saved` is what the reused stages had taken, but for `saved_unknown` of them;
    `earlier` what attempts had taken that did not come to their end, as far as they could note it.
    """
    courses = read_courses(root, run)
    if not courses or not any(course.spent for course in courses):
        return {}
    here, now = so_far(), time.time()
    if here and courses[-1].state == "running":  # the step that asks: its entry is some seconds old
        courses[-1] = replace(courses[-1], updated=now, spent=here.model_dump())
    lines = [Line(_round(one["name"]), _done(one["name"]), Spent(**one["spent"])) for one in stages if "spent" in one]
    lines += [Line(_round(one.name), STEPS, Spent(**one.spent)) for one in courses]
    lines.append(Line("", BETWEEN, Spent(seconds={"starting": _between(courses)})))
    total = _sum(line.spent for line in lines)
    earlier = [Spent(**one["earlier"]) for one in stages if one.get("earlier")]
    reused = [one for one in stages if one["reused"]]
    saved = [Spent(**one["saved"]) for one in reused if one.get("saved")]
    return {
        "seconds": round(max(one.updated for one in courses) - courses[0].started, 1),
        "attributed": 1 - total.seconds.get("unattributed", 0.0) / total.wall,
        "total": _told([Line("", "", line.spent) for line in lines]),
        "rounds": {name: _told(of_round) for name, of_round in _grouped(lines, "round").items()},
        "done": {name: _told(of_kind) for name, of_kind in _grouped(lines, "done").items()},
        "earlier": _sum(earlier).model_dump() if earlier else None,
        "saved": _sum(saved).model_dump() if saved else None,
        "saved_unknown": len(reused) - len(saved),
    }


def _round(name: str) -> str:
    """Of a stage ("m1/judging") or a step ("judge M1", "pair M1's answers"): the model, "" where it is of none."""
    words = name.lower().replace("/", " ").replace("'", " ").split()
    models = [word for word in words if word in ("sft", "m0") or (word[0] == "m" and word[1:].isdigit())]
    return models[0 if "/" in name else -1] if models else ""


def _done(name: str) -> str:
    kind = name.rpartition("/")[2]
    return DONE.get(kind, kind.replace("_", " ").replace("-", " "))


def _between(courses: Sequence[Course]) -> float:
    """Seconds in which no step ran."""
    gaps, until = 0.0, courses[0].started
    for course in courses:  # in the order in which they started
        gaps, until = gaps + max(0.0, course.started - until), max(until, course.updated)
    return round(gaps, 3)


def _sum(spent: Iterable[Spent]) -> Spent:
    total = Spent(attempts=0)
    for one in spent:
        total = total.plus(one)
    return total


def _grouped(lines: Sequence[Line], by: str) -> dict[str, list[Line]]:
    """What took longest first."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(getattr(line, by), []).append(line)
    return dict(sorted(groups.items(), key=lambda group: -sum(line.spent.wall for line in group[1])))


def _told(lines: Sequence[Line]) -> dict[str, Any]:
    """Seconds by kind and amounts of these lines, and what follows from them; None is what cannot be told.

    `gpu_seconds` are of the lines that say what they held. `token_rate` are completion tokens a second of waiting for
    them, of each `rate_unit` (GPU, core), or of all together where not all lines name the same. `mfu` is the trainings'
    FLOP/s as a share of their GPUs' peak.
    """
    total = _sum(line.spent for line in lines)
    held = [line.spent.wall * line.spent.gpus for line in lines if line.spent.gpus]
    asked = [line.spent for line in lines if line.spent.amounts.get("completion_tokens")]
    on_gpus = all(one.gpus for one in asked)
    on_cores = all(one.gpus == 0 and one.cores for one in asked)
    unit = "GPU" if on_gpus else "core" if on_cores else ""
    waited = sum(
        one.seconds.get("engine", 0.0) * ((one.gpus if on_gpus else one.cores if on_cores else 1) or 1) for one in asked
    )
    tokens = sum(one.amounts["completion_tokens"] for one in asked)
    return {
        "wall": round(total.wall, 1),
        "seconds": {kind: round(seconds, 1) for kind, seconds in total.seconds.items()},
        "amounts": dict(total.amounts),
        "gpu_seconds": round(sum(held), 1) if any(line.spent.gpus is not None for line in lines) else None,
        "token_rate": tokens / waited if waited else None,
        "rate_unit": unit,
        "mfu": _mfu([line.spent for line in lines]),
    }


def _mfu(spent: Sequence[Spent]) -> float | None:
    """Model FLOPs utilisation of the trainings among these; None where a GPU's peak is not known, or none trained."""
    trained = [one for one in spent if one.amounts.get("flops") and one.seconds.get("training")]
    peaks = [peak(one.gpu) for one in trained]
    if not trained or None in peaks:
        return None
    able = sum(
        one.seconds["training"] * (one.gpus or 0) * (most or 0) for one, most in zip(trained, peaks, strict=True)
    )
    return sum(one.amounts["flops"] for one in trained) / able if able else None
