from kfp import dsl

from components.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def registry(
    root: str, run: str, tracking_uri: str, registered_name: str, alias: str, model: str, evaluation: str
) -> str:
    """Register a measured model in MLflow under its alias; returns the version, empty when MLflow did not answer."""
    from components.registry.registry import TrainedModel, register_and_note
    from components.step import explained

    with explained(f"{alias}/registry"):
        trained = TrainedModel(registered_name, alias, model, evaluation, run)
        return register_and_note(root, tracking_uri, trained) or ""
