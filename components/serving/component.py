from typing import NamedTuple

from kfp import dsl

from components.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def open_run(
    root: str,
    run: str,
    job: str,
    recipe: dict,
    tracking_uri: str,
    engine: str,
    endpoint: str,
    judge_endpoint: str,
    annotator_endpoint: str,
) -> str:
    """Check that store, registry and endpoints can be used and note the recipe; returns the run's name."""
    from components.registry.client import check_tracking
    from components.serving.client import endpoint_info
    from components.serving.engines import open_engine
    from components.step import explained, write_journal

    with explained("open-run"):
        name = run or job
        open_engine(engine, endpoint).check()
        for url in filter(None, (judge_endpoint, annotator_endpoint)):
            endpoint_info(url)
        write_journal(root, name, "recipe", "recipe", recipe)
        check_tracking(tracking_uri)
    return name


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
    from components.pods import ClusterSettings
    from components.serving.engines import open_engine
    from components.serving.serving import serve as serve_model
    from components.serving.serving import work_note
    from components.serving.settings import ServingSettings
    from components.step import explained

    with explained(f"{name}/serve"):
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
    from components.serving.engines import open_engine
    from components.serving.serving import unserve as unserve_model
    from components.step import explained

    with explained(f"{name}/unserve"):
        unserve_model(open_engine(engine, endpoint), run, name, note, finished)


@dsl.component(base_image=WORKER, install_kfp_package=False)
def finish(
    root: str, run: str, job: str, tracking_uri: str, engine: str, endpoint: str, table: dsl.Output[dsl.HTML]
) -> None:
    """Whatever happened: leave no server or TrainJob behind, register what MLflow did not take, write the summary."""
    from components.gate.settle import settle_what_is_left
    from components.kubernetes.removal import end_training
    from components.report.report import summarise
    from components.report.tables import summary_html
    from components.serving.engines import open_engine
    from components.step import explained

    name = run or job
    with explained("finish"):
        open_engine(engine, endpoint).stop(name)
        end_training(name)
        settle_what_is_left(root, tracking_uri, name)
        with open(table.path, "w") as page:
            page.write(summary_html(summarise(root, name)))
