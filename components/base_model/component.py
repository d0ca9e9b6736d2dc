from kfp import dsl

from components.core.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def import_models(state: dict, roles: list) -> dict:
    """Bring models that others made into the store; returns the run's state with their URIs."""
    from components.base_model.base_model import import_all

    return import_all(state, roles)
