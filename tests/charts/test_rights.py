"""docs/rights.md says what the chart gives, and every flow that a run needs comes through its network policies."""

from __future__ import annotations

from typing import Any

import pytest

from components.kubernetes.objects import labels
from tests.helpers.chart import rendered
from tests.helpers.paths import ROOT
from tests.helpers.rights import EVERYTHING, FLOWS, OURS, page

STEP_OF_KUBEFLOW = {"pipeline/runid": "5c1e"}


def policies() -> dict[str, dict[str, Any]]:
    """The spec of each policy by the component that it is about."""
    found = [one["spec"] for one in rendered(EVERYTHING) if one["kind"] == "NetworkPolicy"]
    return {spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: spec for spec in found}


def test_the_page_is_what_the_chart_gives() -> None:
    assert (ROOT / "docs" / "rights.md").read_text() == page(), "python -m tests.helpers.rights > docs/rights.md"


def selects(selector: dict[str, Any], pod: dict[str, str]) -> bool:
    """Whether a peer's selector takes a pod of the namespace with these labels."""
    if "podSelector" not in selector:
        return False
    exact = selector["podSelector"].get("matchLabels", {}).items() <= pod.items()
    keys = [one["key"] for one in selector["podSelector"].get("matchExpressions", []) if one["operator"] == "Exists"]
    return exact and all(key in pod for key in keys)


@pytest.mark.parametrize(("who", "what", "port"), [flow[:3] for flow in FLOWS])
def test_a_flow_that_a_run_needs_is_let_through_and_a_stranger_is_not(who: str, what: str, port: int) -> None:
    """And no other port, nor pods of other applications."""
    (rule,) = policies()[what]["ingress"]
    pod = labels("run", "demo-1") if who == OURS else STEP_OF_KUBEFLOW
    assert rule["ports"] == [{"port": its} for its in sorted({flow[2] for flow in FLOWS if flow[1] == what})]
    assert {"port": port} in rule["ports"]
    assert any(selects(peer, pod) for peer in rule["from"])
    assert not any(selects(peer, {"app.kubernetes.io/name": "another"}) for peer in rule["from"])


def test_no_policy_is_left_out() -> None:
    assert policies().keys() == {what for _, what, _, _ in FLOWS}


def test_every_pod_of_the_chart_is_one_of_ours() -> None:
    """By the label that its policies let in."""
    templates = [
        one["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["metadata"]
        if one["kind"] == "TrainingRuntime"
        else (one["spec"].get("jobTemplate", one)["spec"]["template"])["metadata"]
        for one in rendered(EVERYTHING)
        if one["kind"] in ("Deployment", "CronJob", "TrainingRuntime")
    ]
    assert len(templates) > 4
    assert [one["labels"]["app.kubernetes.io/name"] for one in templates] == ["self-rewarding"] * len(templates)
