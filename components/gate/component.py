from typing import NamedTuple

from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def gate(
    root: str,
    run: str,
    tracking_uri: str,
    name: str,
    settings: dict,
    model: str,
    measured: list,
    previous: list,
    verdict: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Gated", decision=str, version=str):  # type: ignore[valid-type]
    """Decide about a measured model, register it and follow the verdict: promote, hold or stop."""
    from components.core.records import Check
    from components.core.stage import read_records
    from components.core.step import report_errors, run_stage
    from components.gate.gate import Candidate, pass_gate, read_decision
    from components.gate.markdown import verdict_markdown
    from components.gate.register import apply_verdict
    from components.gate.settings import GateSettings
    from components.registry.registry import TrainedModel

    policy, candidate = GateSettings(**settings), Candidate(model, measured, list(filter(None, previous)))
    uri = run_stage(root, run, f"{name}/gate", lambda: pass_gate(root, policy, candidate, tracking_uri), metrics)
    with report_errors(f"{name}/gate", goes_on=True):
        decision, checks = read_decision(uri), read_records(uri, "checks", Check)
        with open(verdict.path, "w") as page:
            page.write(verdict_markdown(name, decision, checks))
        note = apply_verdict(root, tracking_uri, TrainedModel(policy.registered_name, name, model, measured, run), uri)
    return decision.decision, note["version"] or ""


@dsl.component(base_image=WORKER, install_kfp_package=False)
def comparison(
    root: str,
    run: str,
    settings: dict,
    model: str,
    measured: list,
    against: str,
    against_measured: list,
    fail_on_regression: bool,
    verdict: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """What the gate says of one model if another were the champion; returns its decision and promotes nothing.

    With `fail_on_regression` the step, and so its run, fails with the reasons where the gate would stop.
    """
    from components.core.records import Check
    from components.core.stage import read_records
    from components.core.step import run_stage
    from components.gate.gate import Candidate, compare_models, read_decision
    from components.gate.markdown import verdict_markdown
    from components.gate.settings import GatePolicy

    policy, one, other = GatePolicy(**settings), Candidate(model, measured), Candidate(against, against_measured)
    uri = run_stage(root, run, "comparison", lambda: compare_models(root, policy, one, other), metrics)
    decision = read_decision(uri)
    with open(verdict.path, "w") as page:
        page.write(verdict_markdown("comparison", decision, read_records(uri, "checks", Check)))
    if fail_on_regression and decision.decision == "stop":
        raise SystemExit(f"regression: {'; '.join(decision.reasons)}")
    return decision.decision
