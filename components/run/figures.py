"""The report's charts and tables of what was measured: all of it is the summary's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.core.page import Table
from components.metrics.statistics import HEADLINE, HUMAN, METRICS
from components.run.charts import Chart, Point, with_interval
from components.run.tables import format_figure

SHARES = {"parse_rate", "pairwise_accuracy", "exact_match", "win_rate", "lc_win_rate", "net_win", "exact_answers"}
SHARES |= {"round_parse_rate", "round_score_tie_rate", "held_out_accuracy", "human_agreement"}
HELD_OUT = ("held_out_margin", "held_out_accuracy", "held_out_loss")
BY_MODEL = {
    "win_rate": "win rate",
    "lc_win_rate": "length-controlled win rate",
    "pairwise_accuracy": "accuracy as a judge",
    "human_agreement": "agreement with people's labels",
    "exact_answers": "right answers",
    "answer_length": "length of answers",
}
PAPER = Table(
    "the paper's models (Llama 2 70B; Yuan et al. 2024, tables 1 to 4)",
    ("figure", "SFT", "M1", "M2", "M3"),
    [
        ("AlpacaEval 2 win rate", "-", "9.9 %", "15.4 %", "20.4 %"),
        ("answers, mean characters", "-", "1,092", "1,552", "2,552"),
        ("pairwise accuracy", "65.1 %", "78.7 %", "80.4 %", "81.7 %"),
        ("MT-Bench", "6.85", "6.78", "7.01", "7.25"),
    ],
    "What to compare is the shape, which rises from M1 to M3: other models, prompts and annotators have other levels.",
)
Model = Mapping[str, Any]
Round = Mapping[str, Any]


def figure_table(models: Sequence[Model], confidence: float) -> Table:
    """Every headline figure of every model with its interval; a dash is what was not measured."""
    names = [name for name in (*HEADLINE, *HELD_OUT) if any(name in model["metrics"] for model in models)]
    rows = []
    for name in names:
        label = f"{name.replace('_', ' ')}: {METRICS[name].meaning}"
        rows.append((label, *(_with_interval(model["metrics"], name) for model in models)))
    columns = ("figure", *(model["name"].upper() for model in models))
    return Table("figures", columns, rows, f"In brackets: {confidence * 100:g} % intervals.")


def people_table(stages: Sequence[Mapping[str, Any]]) -> Table | None:
    """What people said of each model that they labelled; None where nobody has."""
    reviewed = {stage["name"].partition("/")[0]: stage for stage in stages if stage["name"].endswith("/review")}
    if not reviewed:
        return None
    rows = []
    for name in [name for name in METRICS if name.startswith(HUMAN)]:
        cells = [_labelled(stage["metrics"], name) for stage in reviewed.values()]
        if set(cells) != {"-"}:
            rows.append((METRICS[name].meaning, *cells))
    people = [f"{stage['metrics']['human_labellers']:.0f}" for stage in reviewed.values()]
    between = [stage["metrics"].get("human_between_people") for stage in reviewed.values()]
    rows.append(("people who labelled", *people))
    rows.append(("people who say the same of one item", *(format_figure(one, share=True) for one in between)))
    note = (
        "Labels on what the model was trained on (the judge is the model before it) and on how it was compared. Items "
        "in dispute are asked more often than they occur and weigh less. In brackets: 95 % intervals (Wilson's)."
    )
    return Table("people's labels", ("share of", *(name.upper() for name in reviewed)), rows, note)


def _labelled(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return "-"
    told = with_interval(metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"], share=True)
    return f"{told}, {metrics[f'{name}_items']:.0f} items"


def _with_interval(metrics: Mapping[str, float], name: str) -> str:
    interval = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return with_interval(metrics.get(name), *interval, name in SHARES)


def model_charts(models: Sequence[Model]) -> list[Chart]:
    """One chart a figure, a point with its interval for each model that has it."""
    charts = []
    for name, title in BY_MODEL.items():
        points = [
            Point(model["name"].upper(), metrics[name], metrics.get(f"{name}_low"), metrics.get(f"{name}_high"))
            for model in models
            if name in (metrics := model["metrics"])
        ]
        if points:
            series: dict[str, Sequence[Point]] = {name.replace("_", " "): points}
            charts.append(Chart(title, "points", series, "model", name in SHARES, note=f"{METRICS[name].meaning}."))
    return charts


def score_chart(rounds: Sequence[Round]) -> Chart | None:
    """The histogram of each round's scores; None where no round was judged."""
    series: dict[str, Sequence[Point]] = {}
    for one in rounds:
        shares = {
            float(name.removeprefix("score_").removesuffix("_share")): share
            for name, share in one["metrics"].items()
            if name.startswith("score_") and name.endswith("_share")
        }
        if shares:
            series[one["name"].upper()] = [Point(f"{score:g}", shares[score]) for score in sorted(shares)]
    return Chart("scores of a round's candidates, by judge", "bars", series, "score", share=True) if series else None


def length_chart(rounds: Sequence[Round]) -> Chart | None:
    """Mean characters of chosen and rejected answers by round; None where there are no pairs."""
    paired = [one for one in rounds if "pairs" in one["metrics"]]
    series: dict[str, Sequence[Point]] = {
        kind: [Point(one["name"].upper(), one["metrics"][f"{kind}_length"]) for one in paired]
        for kind in ("chosen", "rejected")
    }
    note = "Chosen answers that grow from round to round are the first sign of a judge that likes length."
    return Chart("mean characters of pairs", "bars", series, "round of", note=note) if paired else None


def funnel_tables(stages: Sequence[Mapping[str, Any]]) -> list[Table]:
    """For each round what every step kept and dropped, by reason, from prompts to the pairs that DPO trained on."""
    named = {stage["name"]: stage["counts"] for stage in stages}
    tables = []
    for number in sorted(int(name[1:-6]) for name in named if name.endswith("/pairs") and name[1:-6].isdigit()):
        rows = []
        steps = [f"m{number}/{kind}" for kind in ("prompts", "sampling", "judging", "pairs")]
        for name in [*steps, f"m{number + 1}/dpo"]:
            if name in named:
                rows.append((name, *_counts(named[name])))
        tables.append(Table(f"round {number}: M{number} to M{number + 1}", ("stage", "kept", "dropped"), rows))
    return tables


def count_table(stages: Sequence[Mapping[str, Any]], told: Sequence[Table]) -> Table:
    """The same of all stages that stand in none of those tables."""
    names = {row[0] for table in told for row in table.rows}
    rows = [(stage["name"], *_counts(stage["counts"])) for stage in stages if stage["name"] not in names]
    return Table("all other stages", ("stage", "kept", "dropped"), rows)


def _counts(counts: Mapping[str, Mapping[str, int]]) -> tuple[str, str]:
    kept, dropped = (
        "; ".join(f"{number:,} {what}" for what, number in counts[kind].items() if number) or "nothing"
        for kind in ("kept", "dropped")
    )
    return kept, dropped
