from typing import NamedTuple

from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def serve(
    root: str,
    run: str,
    name: str,
    settings: dict,
    engine: str,
    endpoint: str,
    other_endpoint: str,
    model: str,
    inputs: list,
    work: dict,
    cluster: dict,
    worker_image: str,
    engine_image: str,
) -> NamedTuple("Served", endpoint=str, note=str):  # type: ignore[valid-type]
    """Serve a model for the work described by `inputs` and `work`, unless all of it is finished.

    Nothing is started where another endpoint does that work.
    """
    from components.core.step import report_errors
    from components.kubernetes.settings import ClusterSettings
    from components.serving.engines.engine import open_engine
    from components.serving.engines.serving import serve as serve_model
    from components.serving.engines.serving import work_note
    from components.serving.settings import ServingSettings

    with report_errors(f"{name}/serve"):
        note = work_note(root, model, inputs, work)
        if other_endpoint:
            return "", note
        chosen = open_engine(
            engine,
            endpoint,
            settings=ClusterSettings(**cluster),
            worker_image=worker_image,
            engine_image=engine_image,
        )
        return serve_model(chosen, run, name, model, note, ServingSettings(**settings))


@dsl.component(base_image=WORKER, install_kfp_package=False)
def unserve(run: str, name: str, engine: str, endpoint: str, note: str, finished: list) -> None:
    """Stop the server of a model once everything it was needed for is finished."""
    from components.core.step import report_errors
    from components.serving.engines.engine import open_engine
    from components.serving.engines.serving import unserve as unserve_model

    with report_errors(f"{name}/unserve"):
        unserve_model(open_engine(engine, endpoint), run, name, note, finished)
