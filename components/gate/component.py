from typing import NamedTuple

from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def gate(
    name: str,
    before: dict,
    model: str,
    measured: dict,
    candidates: str,
    judgements: str,
    prompts: list,
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Gated", Output=str, state=dict):  # type: ignore[valid-type]
    """Decide about a measured model, register it, and promote, hold or stop; returns decision and the next state."""
    from components.gate.gate_model import gate_model

    made = {"candidates": candidates, "judgements": judgements, "prompts": prompts}
    return gate_model(before, {"name": name, "model": model, **made}, measured, page.path, metrics)


@dsl.component(base_image=WORKER, install_kfp_package=False)
def register(
    name: str, before: dict, model: str, measured: dict, page: dsl.Output[dsl.HTML], metrics: dsl.Output[dsl.Metrics]
) -> dict:
    """Register a measured model that the run starts from (M0, SFT); returns the next phase's state."""
    from components.gate.gate_model import register_model

    return register_model(before, {"name": name, "model": model}, measured, page.path, metrics)


@dsl.component(base_image=WORKER, install_kfp_package=False)
def comparison(
    state: dict,
    model: str,
    measured: dict,
    against: str,
    against_measured: dict,
    fail_on_regression: bool,
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """What the gate says of one model if another were the champion; returns its decision and promotes nothing.

    With `fail_on_regression` the step, and so its run, fails with the reasons where the gate would stop.
    """
    from components.gate.gate import GatedModel
    from components.gate.gate_model import compare

    one, other = GatedModel(model, measured["stages"]), GatedModel(against, against_measured["stages"])
    return compare(state["run"], one, other, fail_on_regression, page.path, metrics)


@dsl.component(base_image=WORKER, install_kfp_package=False)
def noise(
    state: dict,
    seeds: int,
    model: str,
    measured: dict,
    against: str,
    against_measured: dict,
    page: dsl.Output[dsl.HTML],
) -> str:
    """The spread of a model's figures between its training and those with other seeds; returns the stage's URI."""
    from components.gate.gate import GatedModel
    from components.gate.noise import report_noise

    candidate = GatedModel(model, [*measured["stages"], model])  # its training observed the held-out pairs
    other = GatedModel(against, against_measured["stages"])
    return report_noise(state["run"], seeds, candidate, other, page.path)
