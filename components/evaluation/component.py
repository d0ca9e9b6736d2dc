from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def measure(name: str, before: dict, model: str, opponent: dict) -> dict:
    """Measure a model, free its server, and let the annotator compare and grade its answers.

    It is compared head to head with the model that `opponent` is of (what this returned), else with that of `before`.
    Returns the URIs of the stages that measured it: `evaluation`, `annotation` ("" for none), and all, `stages`.
    """
    from components.evaluation.measure import measure_model

    return measure_model(name, before, model, opponent.get("evaluation") or before["evaluation"])
