from kfp import dsl

from components.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def registry(
    root: str, run: str, tracking_uri: str, registered_name: str, alias: str, model: str, measured: list
) -> str:
    """Register a measured model that is no candidate; returns the version, empty when MLflow did not answer."""
    from components.gate.settle import settle
    from components.registry.registry import TrainedModel
    from components.step import explained

    with explained(f"{alias}/registry"):
        note = settle(root, tracking_uri, TrainedModel(registered_name, alias, model, measured, run))
    return note["version"] or ""
