from kfp import dsl

from components.core.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def sft(
    root: str,
    run: str,
    name: str,
    settings: dict,
    base: str,
    seed_data: str,
    resources: dict,
    cluster: dict,
    image: str,
    metrics: dsl.Output[dsl.Metrics],
    eft: str = "",
) -> str:
    """Fine-tune M0 on IFT, and on EFT where given; returns the model's URI."""
    from components.core.step import run_stage
    from components.training.launch.launch import train_stage
    from components.training.launch.request import TrainingRequest

    inputs = {"base": base, "seed_data": seed_data, "eft": eft}
    request = TrainingRequest(kind="sft", root=root, settings=settings, inputs=inputs)
    return run_stage(
        root, run, f"{name}/sft", lambda: train_stage(request, resources, cluster, image, run, name), metrics
    )
