from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def prepare(
    recipe: dict,
    changed: dict,
    store: str,
    run: str,
    job: str,
    tracking_uri: str,
    engine: str,
    endpoint: str,
    judge_endpoint: str,
    annotator_endpoint: str,
    judge_model: str,
    annotator_model: str,
    worker_image: str,
    trainer_image: str,
    engine_image: str,
    page: dsl.Output[dsl.HTML],
) -> dict:
    """Check what the run needs, note what it does and where, import its data; returns the run's state."""
    from components.core.context import RunContext
    from components.run.lifecycle import prepare_run

    where = (tracking_uri, engine, endpoint, judge_endpoint, annotator_endpoint)
    names = (judge_model, annotator_model)
    images = (worker_image, trainer_image, engine_image)
    context = RunContext(store, run or job, recipe, *where, *images, *names, changed)
    return prepare_run(context, page.path)


@dsl.component(base_image=WORKER, install_kfp_package=False)
def resume(state: dict, name: str) -> dict:
    """Find the model `name`, with which an earlier part of the run ended; returns the run's state after its phase."""
    from components.run.lifecycle import resume_run

    return resume_run(state, name)


@dsl.component(base_image=WORKER, install_kfp_package=False)
def hand_over(state: dict, part: int) -> None:
    """Start part `part` of the run, which goes on with the rounds that are left."""
    from components.run.lifecycle import hand_over_run

    hand_over_run(state["run"], part)


@dsl.component(base_image=WORKER, install_kfp_package=False)
def finish(store: str, run: str, job: str, page: dsl.Output[dsl.HTML]) -> None:
    """Whatever happened: no server and no TrainJob is left, every model is registered, the report is written."""
    from components.run.lifecycle import finish_run

    finish_run(store, run or job, page.path)
