from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def instructions(root: str, run: str, settings: dict, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Import the instruction set with its reference outputs; returns its URI."""
    from components.core.step import run_stage
    from components.evaluation.alpaca_eval.instructions import import_instructions
    from components.evaluation.alpaca_eval.instructions_settings import InstructionsSettings

    return run_stage(
        root, run, "instructions", lambda: import_instructions(root, InstructionsSettings(**settings)), metrics
    )
