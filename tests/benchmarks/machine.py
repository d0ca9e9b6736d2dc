"""What the numbers were measured on."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np


def matrix_gflops(size: int = 1024, seconds: float = 1.0) -> float:
    """The best product of two square matrices in fp32, by all threads that numpy's library takes: 2 n^3 operations."""
    left = np.random.default_rng(0).random((size, size), dtype=np.float32)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best / 1e9


def facts() -> str:
    """One line: date, cores, processor, its fp32 speed, and how busy others kept it."""
    known = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in known.read_text().splitlines() if "model name" in line]
        if (known.exists())
        else []
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {len(os.sched_getaffinity(0))} cores"
        f"{f' ({names[0]})' if names else ''}, {matrix_gflops():.0f} GFLOP/s in fp32, "
        f"load average {os.getloadavg()[0]:.1f}"
    )
