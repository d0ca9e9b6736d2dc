from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def registry(
    root: str, run: str, tracking_uri: str, registered_name: str, alias: str, model: str, measured: list
) -> str:
    """Register a measured model that is no candidate; returns the version, empty when MLflow did not answer."""
    from components.core.step import report_errors
    from components.gate.register import apply_verdict
    from components.registry.registry import TrainedModel

    with report_errors(f"{alias}/registry"):
        note = apply_verdict(root, tracking_uri, TrainedModel(registered_name, alias, model, measured, run))
    return note["version"] or ""
