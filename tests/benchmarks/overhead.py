"""What a step costs beside its work: a process that starts and imports, by itself and as kfp.local starts it.

Counted are seconds of CPU, of this and its child processes: others on the machine make none of these longer.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kfp import compiler, dsl

from tests.benchmarks.row import Row
from tests.helpers.paths import ROOT

STEPS = ("sampling.sampling", "judging.judging", "prompts.prompts", "evaluation.measure")


def imports(module: str) -> float:
    """CPU seconds of a fresh process that imports a step, with the interpreter's own start."""
    return cpu_seconds([sys.executable, "-c", f"import components.{module}"])


def cpu_seconds(command: list[str]) -> float:
    """Of a process and all that it started. Raises CalledProcessError where it fails."""
    before = os.times()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    after = os.times()
    return (after.children_user + after.children_system) - (before.children_user + before.children_system)


@dsl.component(base_image="none", install_kfp_package=False)
def idle_step() -> str:
    """A step that asks servers for answers and finds that nothing is left to do."""
    import components.sampling.sampling

    return components.sampling.sampling.__name__


def local_run(steps: int) -> float:
    """CPU seconds of a run of so many idle steps, one after the other, as `srlm run` executes a package."""

    @dsl.pipeline(name="idle")
    def idle() -> None:
        before = None
        for _ in range(steps):
            task = idle_step()
            if before:
                task.after(before)
            before = task

    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(idle, str(package))
        return cpu_seconds([sys.executable, "-m", "pipelines.local.execute", str(package), "{}"])


def rows(quick: bool) -> list[Row]:
    more = 3 if quick else 9
    one, all_steps = local_run(1), local_run(1 + more)
    bare = cpu_seconds([sys.executable, "-c", "pass"])
    step = Row(
        "a local step, beside its work",
        "s of CPU",
        (all_steps - one) / more,
        "python -c pass",
        bare,
        less_is_better=True,
        at_most=0.3,
        note=f"a run of {1 + more} steps less one of 1, by {more}",
    )
    loads = [(name.partition(".")[2], min(imports(name) for _ in range(3))) for name in STEPS]
    return [step, *(Row(f"imports of {name}", "s of CPU", seconds, at_most=1.0) for name, seconds in loads)]
