"""What our own server does not have of `serving.quantize` is refused with what to say instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError
from components.serving.embedded.model.loading import load
from components.serving.embedded.model.quantize import require_known


@pytest.mark.parametrize(
    ("quantize", "dtype", "gpu", "problem", "remedy"),
    [
        ("fp8", "auto", False, "does not know serving.quantize 'fp8'", "It has int8"),
        ("int8", "auto", True, "a GPU would serve", "Leave it out"),
        ("int8", "bfloat16", False, "serving.dtype is bfloat16", "Set serving.dtype to auto"),
    ],
)
def test_what_is_not_there_is_refused(quantize: str, dtype: str, gpu: bool, problem: str, remedy: str) -> None:
    with pytest.raises(UserError) as refused:
        require_known(quantize, dtype, gpu)
    assert problem in refused.value.problem and remedy in refused.value.remedy


def test_nothing_and_int8_on_a_cpu_are_known() -> None:
    for quantize, dtype, gpu in ((None, "bfloat16", True), ("int8", "auto", False), ("int8", "float32", False)):
        require_known(quantize, dtype, gpu)


def test_a_server_asks_before_it_loads(tmp_path: Path) -> None:
    """The folder has no weights, which would be told next."""
    with pytest.raises(UserError, match="does not know serving.quantize 'awq'"):
        load(tmp_path, quantize="awq")
