from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def judge(name: str, before: dict, model: str, candidates: str) -> str:
    """Judge each candidate K times, by Mt or by an external judge; returns the judgements' URI."""
    from components.core.context import open_step
    from components.judging.judging import judge_candidates
    from components.judging.settings import JudgingSettings
    from components.serving.served_model import ServedModel

    with open_step(before["run"], f"judge {name.upper()}") as context:
        settings, judge = context.section("judging", JudgingSettings), ServedModel(context, name, model)
        return context.make(
            f"{name}/judging",
            lambda: judge_candidates(context.store, settings, model, candidates, judge, context.judge_endpoint),
        )
