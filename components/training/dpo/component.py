from kfp import dsl

from components.core.images import TRAINER


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
    resources: dict,
    cluster: dict,
    image: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """DPO from Mt on its own pairs; returns the URI of M(t+1)."""
    from components.core.step import run_stage
    from components.training.launch.launch import train_stage
    from components.training.launch.request import TrainingRequest

    inputs = {"model": model, "pairs": pairs, "seed_data": seed_data, "judge_endpoint": judge_endpoint}
    request = TrainingRequest(kind="dpo", root=root, settings=settings, inputs=inputs)
    return run_stage(
        root, run, f"{name}/dpo", lambda: train_stage(request, resources, cluster, image, run, name), metrics
    )
