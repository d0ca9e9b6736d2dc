"""A compiled pipeline in this environment."""

from pathlib import Path

import pytest
from kfp import compiler, dsl

from pipelines.local.execute import execute


@dsl.component
def fail(tries: str) -> None:
    """Leave a mark, and end as a UserError does."""
    with open(tries, "a") as file:
        file.write("tried ")
    raise SystemExit(2)


@dsl.pipeline
def one_step(tries: str) -> None:
    fail(tries=tries).set_retry(num_retries=4, backoff_duration="1s")


def test_a_step_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    """Elsewhere it may be a pod that was lost; here it is what it says it is, and the user waits."""
    compiler.Compiler().compile(one_step, str(tmp_path / "pipeline.yaml"))
    with pytest.raises(RuntimeError):
        execute(str(tmp_path / "pipeline.yaml"), {"tries": str(tmp_path / "tries")})
    assert (tmp_path / "tries").read_text() == "tried "
