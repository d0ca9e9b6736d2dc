"""Products with int8 weights, on CPUs (`serving.quantize: int8`): faster, smaller, and each some hundredth off
(docs/performance.md).

Weights have a scale for each output, inputs one for each token, after its largest value: LLM.int8() (Dettmers et al.
2022) without its outliers in fp16, and what torchao calls int8 dynamic activations. Products are exact in int32, so
that a token's do not depend on what is computed beside it. With one scale for all tokens of a product, as torch's
`quantized::linear_dynamic` has it, they do, and one large value costs all others their digits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.errors import UserError

LARGEST = 127  # -128 is left out, so that both signs reach as far


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8 and that nobody trains: fp32 [..., in] to [..., out]."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scales = _rounded(linear.weight.detach())
        self._weight = weight.t()  # [in, out], as the operator takes it; in memory an output's inputs stay together
        self._scales = scales.squeeze(1)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: Tensor) -> Tensor:
        """By the operator that torchao uses; it has no public name."""
        tokens, scales = _rounded(inputs.flatten(0, -2))
        product = torch._int_mm(tokens, self._weight).float().mul_(scales).mul_(self._scales)
        return (product if self._bias is None else product.add_(self._bias)).unflatten(0, inputs.shape[:-1])


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [n, size] in int8, and by what each is to be multiplied [n, 1]; zeros stay zeros."""
    scales = rows.abs().amax(1, keepdim=True).div_(LARGEST).clamp_(min=torch.finfo(rows.dtype).tiny)
    return (rows / scales).round_().to(torch.int8), scales


def has_vnni() -> bool:
    """Whether this CPU adds int8 products in 32 bits; others do so in 16, which overflow: a product is then wrong."""
    instructions = torch.cpu.get_capabilities()
    return bool(instructions.get("avx512_vnni") or instructions.get("avx_vnni"))


def require_vnni() -> None:
    """Raises UserError where products would be wrong without a word."""
    if not has_vnni():
        raise UserError(
            "serving.quantize int8 needs a CPU with VNNI (x86, since about 2020), and this one has none",
            "Leave serving.quantize out.",
        )


def quantize(model: nn.Module, head: nn.Module | None) -> None:
    """Give a model's linear layers int8 weights, one after the other: at no time is the model there twice.

    `head`, which makes the logits, stays as it is, and so do layers of classes derived from Linear, which have products
    of their own.
    """
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if type(layer) is nn.Linear and layer is not head:
                setattr(module, name, Int8Linear(layer))
