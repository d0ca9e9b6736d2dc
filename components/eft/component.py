from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def eft(
    root: str,
    run: str,
    settings: dict,
    judging: dict,
    seed_data: str,
    model: str,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Judge prompts with the judgements that M1 learns to write; returns their URI."""
    from components.core.step import run_stage
    from components.eft.eft import make_eft
    from components.eft.settings import EftSettings
    from components.judging.settings import JudgingSettings

    judge_prompt = JudgingSettings(**judging).judge_prompt()
    return run_stage(
        root,
        run,
        "eft",
        lambda: make_eft(root, EftSettings(**settings), seed_data, judge_prompt, endpoint, model),
        metrics,
    )
