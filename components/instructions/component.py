from kfp import dsl

from components.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def instructions(root: str, run: str, settings: dict, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Import the instruction set with its reference outputs; returns its URI."""
    from components.instructions.instructions import import_instructions
    from components.instructions.settings import InstructionsSettings
    from components.step import run_stage

    return run_stage(
        root, run, "instructions", lambda: import_instructions(root, InstructionsSettings(**settings)), metrics
    )
