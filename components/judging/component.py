from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def judge(name: str, before: dict, model: str, candidates: str) -> str:
    """Judge each candidate K times, by Mt or by an external judge; returns the judgements' URI."""
    from components.judging.judging import judge_model

    return judge_model(name, before, model, candidates)
