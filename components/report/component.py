from kfp import dsl

from components.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def report(root: str, run: str, tracking_uri: str, registered: list, table: dsl.Output[dsl.HTML]) -> str:
    """Register what is not registered yet and write the run's summary; returns its URI.

    `registered` are the models' versions: they make this the last step.
    """
    from components.registry.registry import register_what_is_missing
    from components.report.report import summarise, table_html
    from components.step import explained
    from components.store import join

    with explained("report"):
        register_what_is_missing(root, tracking_uri, run)
        summary = summarise(root, run)
        with open(table.path, "w") as page:
            page.write(table_html(summary))
    return join(root, "runs", run, "summary.json")
