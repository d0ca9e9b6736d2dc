from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def measure(name: str, before: dict, model: str, opponent: dict) -> dict:
    """Measure a model, free its server, let the annotator read its answers; returns the URIs of these stages."""
    from components.evaluation.measure import measure_model

    return measure_model(name, before, model, opponent.get("evaluation") or before["evaluation"])
