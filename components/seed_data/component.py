from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def seed_data(root: str, run: str, settings: dict, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Human prompts and replies: IFT examples, EFT prompts, held-out prompts; returns their URI."""
    from components.core.step import run_stage
    from components.seed_data.seed_data import make_seed_data
    from components.seed_data.settings import SeedDataSettings

    return run_stage(root, run, "seed-data", lambda: make_seed_data(root, SeedDataSettings(**settings)), metrics)
