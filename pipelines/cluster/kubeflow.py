"""The client of Kubeflow Pipelines; its errors in words."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.kubernetes.client import ClusterError

if TYPE_CHECKING:
    from kfp import Client

ENDPOINT, TOKEN = "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_TOKEN"
PROJECTED_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105  where Kubeflow mounts it into pods
EQUALS = 1  # as the API's filters count operations
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 60


class KubeflowError(ClusterError):
    """Kubeflow Pipelines cannot be reached or refuses."""


@contextmanager
def kfp_client(host: str = "", namespace: str = "") -> Iterator[Client]:
    """A client for the work inside the block; whatever goes wrong with the server there raises KubeflowError.

    `host` defaults to KF_PIPELINES_ENDPOINT. `namespace` is the user's, in installations with several. The token is
    KF_PIPELINES_TOKEN, else the one that is mounted into this pod (KF_PIPELINES_SA_TOKEN_PATH names another place);
    without either none is sent, as with a port-forward.
    """
    url = (host or os.environ.get(ENDPOINT, "")).rstrip("/")
    if not url:
        raise KubeflowError(
            "it is not known where Kubeflow Pipelines is",
            f"Give --host or {ENDPOINT}, e.g. http://127.0.0.1:8888 after "
            "`kubectl -n kubeflow port-forward svc/ml-pipeline 8888`.",
        )
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield _client(url if "://" in url else f"https://{url}", namespace)
    except ApiException as error:
        raise _refused(url, error) from error
    except HTTPError as error:
        cause = str(error).rpartition("Caused by ")[2][:300]
        raise KubeflowError(
            f"Kubeflow Pipelines at {url} does not answer ({cause})",
            f"Check --host or {ENDPOINT}, and that it can be reached from here (port-forward, VPN).",
        ) from error


def _client(url: str, namespace: str) -> Client:
    """kfp's client; that the server is there is known at once, not after kfp's own five slow tries."""
    path = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or PROJECTED_TOKEN)
    token = os.environ.get(TOKEN) or (path.read_text().strip() if path.is_file() else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import Client

        client = _with_timeouts(Client)(host=url, namespace=namespace or "kubeflow", existing_token=token)
    if namespace:
        client._context_setting = {**client._context_setting, "namespace": namespace}
        client.get_kfp_healthz()  # without a namespace it was asked for already
    return client


def _with_timeouts(base: type[Client]) -> type[Client]:
    """kfp's client with limits on waiting for a server that is not there."""

    class ClientWithTimeouts(base):  # type: ignore[valid-type,misc]
        def _load_config(self, *arguments: Any, **named: Any) -> Any:
            from urllib3.util import Retry

            configuration = super()._load_config(*arguments, **named)
            configuration.retries = Retry(total=2, backoff_factor=0.5, read=0)
            return configuration

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
        f"/pipeline; set {TOKEN} where a login stands before it. Versions older than 2.0 are not supported.",
        status,
    )


def named(name: str) -> str:
    """The API's filter for what has this display name."""
    return json.dumps({"predicates": [{"operation": EQUALS, "key": "display_name", "stringValue": name}]})


def _refused(url: str, error: Any) -> KubeflowError:
    """kfp's client raises the same error for a refusal and for a broken connection (then without a status)."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body or ""
    message = " ".join((body or error.reason or "").split())[:300]
    renew = f"Put a token of a user who may into {TOKEN}, or run this in a pod with Kubeflow's token mounted."
    if error.status == 401:
        return KubeflowError(f"Kubeflow Pipelines at {url} does not know who we are ({message})", renew, 401)
    if error.status == 403:
        return KubeflowError(f"Kubeflow Pipelines at {url} does not allow this ({message})", renew, 403)
    remedy = "Check the run's id or name." if error.status == 404 else "Its ml-pipeline pod's log says more."
    return KubeflowError(f"Kubeflow Pipelines at {url} refuses: {message}", remedy, error.status or 0)
