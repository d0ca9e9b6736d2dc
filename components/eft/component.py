from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def eft(before: dict, model: str) -> str:
    """Judge prompts with the judgements that M1 learns to write; returns their URI.

    The SFT baseline `model` writes the judgements where the recipe has a model do that.
    """
    from components.core.context import open_step
    from components.eft.eft import make_eft
    from components.eft.settings import EftSettings
    from components.judging.settings import JudgingSettings
    from components.serving.served_model import ServedModel

    with open_step(before["run"], "write EFT examples") as context:
        settings, seeds = context.section("eft", EftSettings), before["data"]["seed_data"]
        judge_prompt = context.section("judging", JudgingSettings).judge_prompt()
        by_model = (ServedModel(context, "sft", model), model) if settings.source == "model" else ()
        return context.make("eft", lambda: make_eft(context.store, settings, seeds, judge_prompt, *by_model))
