from kfp import dsl

from components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def sft(
    root: str,
    run: str,
    name: str,
    settings: dict,
    base: str,
    seed_data: str,
    metrics: dsl.Output[dsl.Metrics],
    eft: str = "",
) -> str:
    """Fine-tune M0 on IFT, and on EFT where given; returns the model's URI."""
    from components.sft.settings import SftSettings
    from components.sft.sft import fine_tune
    from components.step import run_stage

    return run_stage(
        root, run, f"{name}/sft", lambda: fine_tune(root, SftSettings(**settings), base, seed_data, eft), metrics
    )
