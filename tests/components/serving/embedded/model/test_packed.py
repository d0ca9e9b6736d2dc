"""A packed layer gives what the layer gave, and only layers that are plain, fp32 and on a CPU are packed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.serving.embedded.model.packed import PackedLinear, pack

pytestmark = pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="nothing is packed here")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 96), (5, 96), (2, 7, 96), (0, 96)])
def test_products_are_those_of_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    """Sums of 96 products of numbers below 1 in fp32: apart by rounding alone, 1e-5 at most. A view that is not
    contiguous is read right, too."""
    layer = nn.Linear(96, 130, bias=bias)
    inputs = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        packed = PackedLinear(layer)
        torch.testing.assert_close(packed(inputs), layer(inputs), atol=1e-5, rtol=1e-5)
        flipped = inputs.flip(-1).transpose(0, -2)
        torch.testing.assert_close(packed(flipped), layer(flipped), atol=1e-5, rtol=1e-5)


def test_what_is_not_plain_fp32_stays() -> None:
    class Derived(nn.Linear):
        pass

    model = nn.ModuleDict({"plain": nn.Linear(8, 8), "short": nn.Linear(8, 8).bfloat16(), "derived": Derived(8, 8)})
    pack(nn.ModuleList([model]))
    assert [type(layer) for layer in model.values()] == [PackedLinear, nn.Linear, Derived]
