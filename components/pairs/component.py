from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def pairs(
    root: str,
    run: str,
    name: str,
    settings: dict,
    candidates: str,
    judgements: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Best against worst of each prompt; returns the preference pairs' URI."""
    from components.core.step import run_stage
    from components.pairs.pairs import make_pairs
    from components.pairs.settings import PairsSettings

    return run_stage(
        root,
        run,
        f"{name}/pairs",
        lambda: make_pairs(root, PairsSettings(**settings), candidates, judgements),
        metrics,
    )
