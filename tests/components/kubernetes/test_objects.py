"""Names of objects: what exists in a cluster is found again by the same name."""

from __future__ import annotations

import pytest

from components.kubernetes.objects import object_name


@pytest.mark.parametrize(
    ("run", "longest", "expected"),
    [
        ("demo-1", 36, "demo-1-4e4008-m1"),
        ("2-demo", 36, "run-2-demo-343b00-m1"),  # a Service's name begins with a letter
        ("demo-1", 5, "demo-4e4008-m1"),  # no hyphen is left at the cut
        ("x" * 80, 36, f"{'x' * 36}-9d79e0-m1"),
    ],
)
def test_a_name_is_a_dns_label_that_tells_run_and_model(run: str, longest: int, expected: str) -> None:
    assert object_name(run, "m1", longest) == expected


def test_another_identity_is_another_name() -> None:
    assert object_name("demo-1", "m1", 32, identity=["demo-1", "key"]) == "demo-1-bef2df-m1"
