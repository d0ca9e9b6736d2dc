"""The client of Kubeflow Pipelines; its errors in words."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.kubernetes.client import ClusterError, connect, in_a_pod, message_of
from pipelines.cluster.reach import KUBEFLOW, from_here

if TYPE_CHECKING:
    from kfp import Client

ENDPOINT, TOKEN = "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_TOKEN"
CA, COOKIE = "KF_PIPELINES_CA", "KF_PIPELINES_COOKIE"
PROJECTED_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105  where Kubeflow mounts it into pods
EQUALS = 1  # as the API's filters count operations
IN_CLUSTER = f"http://ml-pipeline.{KUBEFLOW}:8888"  # where Kubeflow's own manifests put it
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 60


class KubeflowError(ClusterError):
    """Kubeflow Pipelines cannot be reached or refuses."""


class NoKubeflowError(KubeflowError):
    """None is named, and none is found."""


@contextmanager
def kfp_client(host: str = "", namespace: str = "") -> Iterator[Client]:
    """A client for the work inside the block; whatever goes wrong with the server there raises KubeflowError.

    `host` defaults to KF_PIPELINES_ENDPOINT, else to that of the kubeconfig's cluster, where it has one; a port is
    forwarded to it. `namespace` is the user's, in installations with several. The token is KF_PIPELINES_TOKEN, else the
    one that is mounted into this pod (KF_PIPELINES_SA_TOKEN_PATH names another place), else, where there are several
    users and the kubeconfig may, one that is made for the namespace's default-editor; without any none is sent. The
    cookie of a login before it is KF_PIPELINES_COOKIE, the file of its authority KF_PIPELINES_CA, else SSL_CERT_FILE.
    """
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    with ExitStack() as stack:
        url = (host or os.environ.get(ENDPOINT, "")).rstrip("/") or stack.enter_context(_found())
        try:
            yield _client(url if "://" in url else f"https://{url}", namespace)
        except ApiException as error:
            raise _refused(url, error) from error
        except HTTPError as error:
            cause = str(error).rpartition("Caused by ")[2][:300]
            remedy = f"Check --host or {ENDPOINT}, and that it can be reached from here (port-forward, VPN)."
            if "certificate" in cause:
                remedy = f"Name the file of the authority that signed its certificate with --ca or {CA}."
            raise KubeflowError(f"Kubeflow Pipelines at {url} does not answer ({cause})", remedy) from error


@contextmanager
def _found() -> Iterator[str]:
    """The address of the Kubeflow Pipelines of this pod's, or the kubeconfig's, cluster. Raises NoKubeflowError."""
    if in_a_pod():
        yield IN_CLUSTER
        return
    try:
        cluster = connect(KUBEFLOW)
        cluster.core.read_namespaced_service("ml-pipeline", KUBEFLOW)
    except ClusterError as error:
        raise NoKubeflowError(
            f"it is not known where Kubeflow Pipelines is (none is found with the kubeconfig: {error.problem})",
            f"Give --host or {ENDPOINT}, e.g. http://127.0.0.1:8888 after "
            "`kubectl -n kubeflow port-forward svc/ml-pipeline 8888`.",
        ) from error
    with from_here(cluster, IN_CLUSTER) as url:
        yield url


def _client(url: str, namespace: str) -> Client:
    """kfp's client; that the server is there is known at once, not after kfp's own five slow tries."""
    path = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or PROJECTED_TOKEN)
    token = os.environ.get(TOKEN) or (path.read_text().strip() if path.is_file() else None)
    authority, cookie = os.environ.get(CA) or os.environ.get("SSL_CERT_FILE"), os.environ.get(COOKIE)
    if authority and not Path(authority).is_file():
        raise KubeflowError(f"there is no file of authorities {authority}", f"Correct --ca, {CA} or SSL_CERT_FILE.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import Client

        made = _with_timeouts(Client)
        named: dict[str, Any] = {"host": url, "namespace": namespace or KUBEFLOW, "ssl_ca_cert": authority or None}
        named["cookies"] = cookie or None
        client = made(**named, existing_token=token)
        health = client.get_kfp_healthz()
        if not (token or cookie) and health.multi_user and (token := _made_token(namespace)):
            client = made(**named, existing_token=token)
    if namespace:
        client._context_setting = {**client._context_setting, "namespace": namespace}
    return client


def _made_token(namespace: str) -> str | None:
    """A token of an hour for the account that Kubeflow gives to a profile; None where the kubeconfig may make none."""
    request = {"spec": {"audiences": ["pipelines.kubeflow.org"], "expirationSeconds": 3600}}
    try:
        cluster = connect(namespace)
        made = cluster.core.create_namespaced_service_account_token("default-editor", cluster.namespace, request)
    except ClusterError:
        return None
    return str(made.status.token)


def _with_timeouts(base: type[Client]) -> type[Client]:
    """kfp's client with limits on waiting for a server that is not there."""

    class ClientWithTimeouts(base):  # type: ignore[valid-type,misc]
        def _load_config(self, *arguments: Any, **named: Any) -> Any:
            from urllib3.util import Retry

            configuration = super()._load_config(*arguments, **named)
            configuration.retries = Retry(total=2, backoff_factor=0.5, read=0)
            return configuration

        @cache  # noqa: B019  asked while it is made, and by who has made it: one answer for the life of a client
        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            health = self._healthz_api.healthz_service_get_healthz(_request_timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
            _require_json(self._existing_config.host, self._healthz_api.api_client.last_response.data)
            return health

    return ClientWithTimeouts


def _require_json(url: str, answer: str | bytes) -> None:
    """A login page, say, answers with 200 to everything; kfp's client would read from it that there are no runs."""
    try:
        is_object = isinstance(json.loads(answer), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise not_its_api(url)


def not_its_api(url: str, status: int = 200) -> KubeflowError:
    """Something else answers there, or an older version."""
    return KubeflowError(
        f"{url} answers, but not as the API of Kubeflow Pipelines 2 (v2beta1)",
        f"Check --host or {ENDPOINT}: it is the address of ml-pipeline (port 8888), or of Kubeflow's UI followed by "
        f"/pipeline; set {TOKEN} or {COOKIE} where a login stands before it. Versions below 2.0 are not supported.",
        status,
    )


def named(name: str) -> str:
    """The API's filter for what has this display name."""
    return json.dumps({"predicates": [{"operation": EQUALS, "key": "display_name", "stringValue": name}]})


def _refused(url: str, error: Any) -> KubeflowError:
    """kfp's client raises the same error for a refusal and for a broken connection (then without a status)."""
    message = " ".join((message_of(error.body) or error.reason or "").split())[:300]
    renew = (
        f"Put a token of a user who may into {TOKEN}, or your browser's cookie into {COOKIE} (--cookie), or run "
        "this in a pod with Kubeflow's token mounted."
    )
    if error.status == 401:
        return KubeflowError(f"Kubeflow Pipelines at {url} does not know who we are ({message})", renew, 401)
    if error.status == 403:
        return KubeflowError(f"Kubeflow Pipelines at {url} does not allow this ({message})", renew, 403)
    remedy = "Check the run's id or name." if error.status == 404 else "Its ml-pipeline pod's log says more."
    return KubeflowError(f"Kubeflow Pipelines at {url} refuses: {message}", remedy, error.status or 0)
