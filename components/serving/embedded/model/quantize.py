"""What our own server (the engines embedded and transformers) has of `serving.quantize`: int8, on CPUs."""

from __future__ import annotations

from components.core.errors import UserError


def require_known(quantize: str | None, dtype: str, gpu: bool) -> None:
    """Raises UserError where our own server cannot serve so; `gpu` says whether one would be taken."""
    if quantize is None:
        return
    if quantize != "int8":
        raise UserError(
            f"our own server does not know serving.quantize {quantize!r}",
            "It has int8, on CPUs: say that, or leave it out. Other names are for the engines vllm and tgi.",
        )
    if gpu:
        raise UserError(
            "serving.quantize int8 of our own server is for CPUs, and a GPU would serve",
            "Leave it out: on a GPU weights are bf16 (serving.dtype). vllm and tgi have quantizations for GPUs.",
        )
    if dtype not in ("auto", "float32"):
        raise UserError(
            f"serving.quantize int8 computes in fp32 between its products, and serving.dtype is {dtype}",
            "Set serving.dtype to auto, or leave serving.quantize out.",
        )
