from kfp import dsl

from components.core.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def base_model(root: str, run: str, name: str, settings: dict, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Bring a model that others made into the store; returns its URI."""
    from components.base_model.base_model import import_model
    from components.base_model.settings import BaseModelSettings
    from components.core.step import run_stage

    return run_stage(
        root, run, f"{name}/base-model", lambda: import_model(root, BaseModelSettings(**settings)), metrics
    )
