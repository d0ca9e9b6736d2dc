from kfp import dsl

from components.core.images import WORKER


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
    from components.core.journal import write_journal
    from components.core.step import report_errors
    from components.registry.client import check_tracking
    from components.serving.client import endpoint_info
    from components.serving.engines.engine import open_engine

    with report_errors("open-run"):
        name = run or job
        open_engine(engine, endpoint).check()
        for url in filter(None, (judge_endpoint, annotator_endpoint)):
            endpoint_info(url)
        write_journal(root, name, "recipe", "recipe", recipe)
        check_tracking(tracking_uri)
    return name


@dsl.component(base_image=WORKER, install_kfp_package=False)
def finish(
    root: str, run: str, job: str, tracking_uri: str, engine: str, endpoint: str, table: dsl.Output[dsl.HTML]
) -> None:
    """Whatever happened: leave no server or TrainJob behind, register what MLflow did not take, write the summary."""
    from components.core.step import report_errors
    from components.gate.register import retry_unregistered
    from components.kubernetes.removal import end_training
    from components.run.report import summarise
    from components.run.tables import summary_html
    from components.serving.engines.engine import open_engine

    name = run or job
    with report_errors("finish"):
        open_engine(engine, endpoint).stop(name)
        end_training(name)
        retry_unregistered(root, tracking_uri, name)
        with open(table.path, "w") as page:
            page.write(summary_html(summarise(root, name)))
