from typing import NamedTuple

from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def measure(name: str, before: dict, model: str, opponent: dict) -> dict:
    """Measure a model, free its server, let the annotator read its answers; returns the URIs of these stages."""
    from components.evaluation.measure import measure_model

    return measure_model(name, before, model, opponent.get("evaluation") or before["evaluation"])


@dsl.component(base_image=WORKER, install_kfp_package=False)
def eft_measure(before: dict, model: str) -> NamedTuple("Asked", eft=str, measured=dict):  # type: ignore[valid-type]
    """The SFT baseline writes the EFT examples, then it is measured; returns their URI and what `measure` does."""
    from components.eft.eft import make_examples
    from components.evaluation.measure import measure_model

    return make_examples(before, model), measure_model("sft", before, model, before["evaluation"])


@dsl.component(base_image=WORKER, install_kfp_package=False)
def sample_judge_measure(name: str, before: dict, model: str, prompts: list) -> NamedTuple(  # type: ignore[valid-type]
    "Asked", candidates=str, judgements=str, prompts=list, measured=dict
):
    """Mt answers each prompt of its round N times, judges the answers, and is measured.

    Three steps of the run in one pod. Returns the URIs of candidates and judgements, all rounds' prompts so far, and
    what `measure` does.
    """
    from components.evaluation.measure import measure_model
    from components.judging.judging import judge_model
    from components.sampling.sampling import sample_model

    candidates, prompts = sample_model(name, before, model, prompts)
    judgements = judge_model(name, before, model, candidates)
    return candidates, judgements, prompts, measure_model(name, before, model, before["evaluation"])
