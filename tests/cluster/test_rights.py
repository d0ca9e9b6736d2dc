"""What the chart's accounts may do, as the API server itself lists it: docs/rights.md, and nothing else."""

from __future__ import annotations

import pytest
import yaml

from components.kubernetes.client import Cluster
from tests.helpers.chart import rendered
from tests.helpers.release import kubectl
from tests.helpers.rights import ACCOUNTS, EVERYTHING, rules_of

pytestmark = pytest.mark.cluster


def listed(cluster: Cluster, account: str) -> set[tuple[str, str]]:
    """Pairs of resource and verb of `kubectl auth can-i --list`."""
    user = f"--as=system:serviceaccount:{cluster.namespace}:{account}"
    lines = kubectl(cluster.namespace, "auth", "can-i", "--list", "--no-headers", user).splitlines()
    found = set()
    for line in lines:
        resource, _, verbs = line.rpartition("[")
        if resource and not resource.startswith(" "):  # those that begin with a space are URLs
            found |= {(resource.split()[0], verb) for verb in verbs.rstrip("] ").split()}
    return found


@pytest.mark.parametrize("account", ACCOUNTS)
def test_the_api_server_lists_exactly_the_rights_of_the_page(cluster: Cluster, account: str) -> None:
    """Beside what every account has, which is to ask about its own rights."""
    made = [one for one in rendered(EVERYTHING) if one["kind"] in ("ServiceAccount", "Role", "RoleBinding")]
    for one in made:
        for subject in one.get("subjects", []):
            subject["namespace"] = cluster.namespace
    text = yaml.safe_dump_all(made).replace("namespace: runs", f"namespace: {cluster.namespace}")
    kubectl(cluster.namespace, "apply", "--filename=-", given=text)
    assert listed(cluster, account) - listed(cluster, "default") == rules_of(ACCOUNTS[account])
    common = {(what, verb) for what, verb in listed(cluster, "default") if not what.startswith("self")}
    assert common == set()
