from kfp import dsl

from components.core.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def sft(name: str, before: dict, eft: str) -> str:
    """Fine-tune M0 on IFT, and on EFT where given (training/sft: fine_tune); returns the model's URI."""
    from components.training.launch.launch import train_model

    data = before["data"]
    return train_model(before["run"], name, "sft", {"base": data["base"], "seed_data": data["seed_data"], "eft": eft})


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def dpo(name: str, before: dict, pairs: str) -> str:
    """DPO from the model before on its own pairs (training/dpo: train_dpo); returns the new model's URI."""
    from components.training.launch.launch import train_model

    inputs = {"model": before["model"], "pairs": pairs, "seed_data": before["data"]["seed_data"]}
    return train_model(before["run"], name, "dpo", inputs)


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def dpo_again(state: dict, model: str, number: int) -> str:
    """The DPO that made a model once more, with the seed of this number (training/launch/again); returns its URI."""
    from components.training.launch.again import train_again

    return train_again(state["run"], model, number)
