"""Proxies of the environment, and who is asked without them: this machine and the cluster's own services (issue 13)."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def ask_directly(*urls: str) -> None:
    """From now on this process and its children ask the loopback without a proxy; and those of `urls`, "" for none,
    that lie on this machine or, in a pod, in its cluster.

    boto3, MLflow's client, urllib and Go's programs all read NO_PROXY; the library that reads it in lower case prefers
    that, so both are set. To be called before a client is made: boto3's reads it once.
    """
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in named.split(",") if host.strip()]
    if hosts == ["*"]:  # which means all of them only where it stands alone
        return
    near = (*LOOPBACK, *(host for host in map(_host, urls) if _is_near(host)))
    hosts += [host for host in dict.fromkeys(near) if host not in hosts]
    os.environ.update(dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(hosts)))


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_near(host: str) -> bool:
    """A pod reaches Services by names without a dot, by `.svc`, and the API server by the address it is told."""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return True
    except ValueError:  # a name
        pass
    server = os.environ.get("KUBERNETES_SERVICE_HOST")
    in_cluster = "." not in host or host.endswith((".svc", ".cluster.local")) or host == server
    return bool(host and server and in_cluster)
