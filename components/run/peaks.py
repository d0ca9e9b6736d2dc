"""What GPUs can do at most, in dense bf16 (FLOP/s): what a training's FLOP/s are held against (MFU)."""

from __future__ import annotations

# By a part of the name that torch gives, the more special first. Of NVIDIA's data sheets, without their sparsity, which
# doubles each figure; V100 and T4 know no bf16 and are held against fp16. A MIG slice is not the GPU.
PEAKS = {
    "B200": 2.25e15,  # HGX B200 data sheet: 4,500 sparse
    "GH200": 9.89e14,  # Grace Hopper data sheet: 1,979 sparse
    "H200": 9.89e14,  # H200 data sheet, SXM: 1,979 sparse
    "H100 PCIe": 7.56e14,  # H100 data sheet: 1,513 sparse
    "H100 NVL": 8.35e14,  # H100 data sheet: 1,671 sparse
    "H100": 9.89e14,  # H100 data sheet, SXM: 1,979 sparse
    "A100": 3.12e14,  # A100 data sheet
    "L40S": 3.62e14,  # L40S data sheet: 733 sparse of 362.05
    "L4": 1.21e14,  # L4 data sheet: 242 sparse
    "A10G": 7.0e13,  # A10G data sheet
    "V100": 1.25e14,  # V100 data sheet, SXM2, fp16
    "T4": 6.5e13,  # T4 data sheet, fp16
}


def peak(gpu: str) -> float | None:
    """FLOP/s of one GPU that torch calls so, e.g. "NVIDIA H100 80GB HBM3"; None where it is not known."""
    words = set(gpu.replace("-", " ").split())
    return next((flops for name, flops in PEAKS.items() if words >= set(name.split()) and "MIG" not in words), None)
