from kfp import dsl

from components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def dpo(
    root: str,
    run: str,
    name: str,
    settings: dict,
    model: str,
    pairs: str,
    seed_data: str,
    judge_endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """DPO from Mt on its own pairs; returns the URI of M(t+1)."""
    from components.dpo.dpo import DpoInputs, optimise
    from components.dpo.settings import DpoSettings
    from components.step import run_stage

    inputs = DpoInputs(model, pairs, seed_data, judge_endpoint)
    return run_stage(root, run, f"{name}/dpo", lambda: optimise(root, DpoSettings(**settings), inputs), metrics)
