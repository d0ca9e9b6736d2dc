"""Products with weights, on CPUs: by oneDNN, which takes fp32 weights laid out once as its AVX-512 kernels read them.

torch's own `linear` asks MKL, which on AMD's CPUs has kernels of half that width (docs/performance.md). The two
operators are those that torch.compile puts into the graphs it freezes; they have no public name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """A linear layer whose weights nobody trains or reads: [..., in] to [..., out], equal but for rounding."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: Tensor) -> Tensor:
        """By the operator's unfused form."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")
        return product


def pack(model: nn.Module) -> None:
    """Pack the fp32 linear layers of a model, where there is AVX-512; elsewhere nothing changes.

    Layers of classes derived from Linear have products of their own, and stay.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if type(layer) is nn.Linear and layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu":
                setattr(module, name, PackedLinear(layer))
