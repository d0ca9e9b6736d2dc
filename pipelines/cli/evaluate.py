"""`srlm eval`: two models compared on this machine, with reports that CI systems show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console

from components.core.errors import UserError
from components.core.journal import read_journal
from components.core.records import Check, Decision, TrainingNoise
from components.core.stage import read_manifest, read_records
from components.core.store import join, open_store
from components.gate.gate import read_decision
from components.gate.noise import noise_lines, noise_markdown, noise_table
from components.gate.verdict import verdict_markdown
from components.metrics.labels import COMPARABLE, alpaca_eval_label
from components.registry.references import ModelReference, registered_name, resolve
from components.training.launch.again import request_again
from pipelines.compile import compile_pipeline
from pipelines.graph.evaluation import evaluation_pipeline
from pipelines.local.beforehand import check_model, check_overrides
from pipelines.local.run import RunOptions, execute, new_run, run_folder, servers
from pipelines.local.terminal import print_table
from pipelines.recipe import load_recipe, recipe_of
from pipelines.runs import check_run_name

REPORTS = ("report.md", "report.json", "junit.xml")


@dataclass(frozen=True)
class Comparison:
    """The gate's decision on `model` as if `against` were the champion, with the outcome of every rule.

    `noise` is the URI of the stage that compares the model with its trainings again, "" where there are none.
    """

    model: ModelReference
    against: ModelReference
    decision: Decision
    checks: Sequence[Check]
    noise: str = ""

    @property
    def title(self) -> str:
        return f"{self.model.label} against {self.against.label}"

    @property
    def regressed(self) -> bool:
        """Whether a rule failed that stops a run; that no improvement is proven is no regression."""
        return self.decision.decision == "stop"


@dataclass(frozen=True)
class EvaluationRequest:
    """Two models, as people name them, and the recipe to measure with; "" is that of the run which made the model.

    `run` is the comparison's name, else it gets a new one; its servers on Kubernetes are named after it. With `seeds`
    the model is trained again so many times; `against` is then by default the model that it was trained from, else the
    champion.
    """

    model: str
    against: str = ""
    recipe: str = ""
    overrides: Sequence[str] = ()
    seeds: int = 0
    run: str = ""


def evaluate_models(
    request: EvaluationRequest, options: RunOptions, output: Path, console: Console, debug: bool = False
) -> Comparison:
    """Measure both models, compare them and write the reports to the folder `output` and to the store.

    Raises UserError when something is broken, so that there is no verdict.
    """
    run = _check(request, options)
    with servers(options, console) as addresses:
        model = resolve(addresses["tracking_uri"], request.model)
        if request.seeds:
            request_again(addresses["store"], model.stage, 1, {})  # what cannot be trained again is not measured first
        before = read_manifest(model.stage).parents["model"].uri if request.seeds else "@champion"
        against = resolve(addresses["tracking_uri"], request.against or before, model.name)
        recipe = recipe_of(addresses["store"], model, request.recipe, request.overrides)
        run = run or new_run(f"evaluate-{recipe.name}")
        compiled = run_folder(run) / "pipeline.yaml"
        compile_pipeline(evaluation_pipeline(recipe, request.seeds), compiled)
        parameters = options.parameters() | addresses | {"run": run, "model": model.stage, "against": against.stage}
        execute(compiled, parameters, console, debug)
        comparison = _read_comparison(addresses["store"], run, model, against)
        figures = {stage["name"]: stage["metrics"] for stage in read_journal(addresses["store"], run, "stages")}
        write_reports(comparison, figures, output)
        kept = keep_reports(addresses["store"], run, output)
        console.print(verdict_markdown(comparison.title, comparison.decision, comparison.checks), markup=False)
        if comparison.noise:
            print_table(console, "Training noise", noise_table(comparison.noise))
            console.print("\n".join(noise_lines(comparison.noise)), markup=False, highlight=False)
    console.print(f"reports: {output}/{', '.join(REPORTS)}; also {kept}/", highlight=False, soft_wrap=True)
    return comparison


def _check(request: EvaluationRequest, options: RunOptions) -> str:
    """The name of the comparison, "" where it gets a new one. Raises UserError for what is known to be wrong before
    anything is started: names, and settings where a recipe is named."""
    check_model(request.model, options)
    if request.against:
        check_model(request.against, options, registered_name(request.model))
    if request.run:
        check_run_name(request.run)
    check_overrides(request.overrides)
    if request.recipe:
        load_recipe(request.recipe, request.overrides)
    return request.run


def keep_reports(store: str, run: str, folder: Path) -> str:
    """Leave the reports beside the comparison's journal: a Job's folder goes with its pod. Returns their URI."""
    uri = join(store, "runs", run, "reports")
    for name in REPORTS:
        open_store(uri).upload(folder / name, name)
    return uri


def write_reports(comparison: Comparison, figures: dict[str, Any], folder: Path) -> None:
    """`report.md`, `report.json` (verdict, rules, all figures of both models) and `junit.xml` (one test a rule)."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown = verdict_markdown(comparison.title, comparison.decision, comparison.checks)
    labels = [f"* {name}: {label}" for name, metrics in figures.items() if (label := alpaca_eval_label(metrics))]
    if labels:
        markdown += "\n".join(["", "Win rates against reference outputs:", "", *labels, "", COMPARABLE, ""])
    (folder / "report.md").write_text(markdown + (noise_markdown(comparison.noise) if comparison.noise else ""))
    report = {
        "model": comparison.model.to_dict(),
        "against": comparison.against.to_dict(),
        "regressed": comparison.regressed,
        "decision": comparison.decision.decision,
        "reasons": comparison.decision.reasons,
        "checks": [check.model_dump(mode="json") for check in comparison.checks],
        "figures": figures,
    }
    if comparison.noise:
        noise = read_records(comparison.noise, "figures", TrainingNoise)
        report["noise"] = [record.model_dump(mode="json") for record in noise]
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    (folder / "junit.xml").write_bytes(junit(comparison))


def junit(comparison: Comparison) -> bytes:
    """One test case a rule: failed where it stops a run; skipped where nothing is known or no improvement is proven."""
    suite = ElementTree.Element("testsuite", name=comparison.title, tests=str(len(comparison.checks)))
    failures = 0
    for check in comparison.checks:
        case = ElementTree.SubElement(suite, "testcase", classname=f"gate.{check.rule}", name=check.metric)
        if check.outcome == "fail" and check.rule != "improvement":
            failures += 1
            ElementTree.SubElement(case, "failure", message=check.reason)
        elif check.outcome != "pass":
            ElementTree.SubElement(case, "skipped", message=check.reason)
    suite.set("failures", str(failures))
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _read_comparison(store: str, run: str, model: ModelReference, against: ModelReference) -> Comparison:
    stages = {stage["name"]: stage["uri"] for stage in read_journal(store, run, "stages")}
    if "comparison" not in stages:
        raise UserError(f"the run {run} left no verdict", f"Its log is {run_folder(run) / 'log.txt'}.")
    uri = join(store, "comparison", read_manifest(stages["comparison"]).key)
    checks = read_records(uri, "checks", Check)
    return Comparison(model, against, read_decision(uri), checks, stages.get("noise", ""))
