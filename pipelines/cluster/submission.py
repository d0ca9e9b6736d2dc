"""Submit a recipe to Kubeflow Pipelines: a pipeline of its name, a version of its content, an experiment, a run."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from components.core.errors import UserError
from components.kubernetes.client import ClusterError, connect, in_a_pod, patiently
from pipelines.cluster.kubeflow import ENDPOINT, IN_CLUSTER, KubeflowError, kfp_client, named, not_its_api
from pipelines.cluster.reach import KUBEFLOW, named_by_chart
from pipelines.compile import compile_recipe, version_of
from pipelines.recipe import Recipe
from pipelines.runs import check_run_name

if TYPE_CHECKING:
    from kfp import Client

UI = "KF_PIPELINES_UI_ENDPOINT"
ENDED_BADLY = ("FAILED", "CANCELED")


@dataclass(frozen=True)
class Submitted:
    """A run that Kubeflow Pipelines has taken; `again` says that it had taken it before. `page` tells how to see it."""

    run_id: str
    version: str
    page: str
    again: bool


@dataclass(frozen=True)
class KubeflowTarget:
    """An installation of Kubeflow Pipelines, and the namespace and experiment in it; empty is the default."""

    host: str = ""
    namespace: str = ""
    experiment: str = ""

    def page(self, run_id: str) -> str:
        """Where the UI shows a run. The API's address is the UI's only where it ends with /pipeline."""
        address = (self.host or os.environ.get(ENDPOINT, "")).rstrip("/")
        found = os.environ.get(UI) or (address if address.endswith("/pipeline") else "")
        shown = f"{found.rstrip('/') or 'http://localhost:8080'}/#/runs/details/{run_id}"
        return shown if found else f"{shown} after: kubectl -n {KUBEFLOW} port-forward svc/ml-pipeline-ui 8080:80"


def submit(recipe: Recipe, target: KubeflowTarget, parameters: Mapping[str, str], part: int = 1) -> Submitted:
    """Start the run `parameters["run"]` (or a later part of it), unless one of this name goes on or has succeeded.

    Raises UserError where name or parameters do not do for a cluster, or Kubeflow Pipelines does not do as asked.
    """
    check_run_name(parameters["run"])
    check_parameters(parameters)
    patience = recipe.cluster.patience if in_a_pod() else 0.0  # a person is told at once
    return patiently(lambda: _try_to_submit(recipe, target, parameters, part), patience)


def _try_to_submit(recipe: Recipe, target: KubeflowTarget, parameters: Mapping[str, str], part: int) -> Submitted:
    """Every request may be made again: what is there is found first."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pipeline.yaml"
        compile_recipe(recipe, package, part)
        try:
            # kfp's client prints links, and its own are wrong where the API's address is not the UI's
            with kfp_client(target.host, target.namespace) as client, redirect_stdout(io.StringIO()):
                name = parameters["run"] + (f"-part-{part}" if part > 1 else "")
                return _submit(client, recipe, target, name, dict(parameters), package)
        except KubeflowError as error:
            if error.status in (404, 405, 501):
                raise not_its_api(target.host or os.environ.get(ENDPOINT) or IN_CLUSTER, error.status) from error
            raise


def with_addresses_of_chart(recipe: Recipe, namespace: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters with store and registry as the namespace's config map names them, where nothing else does."""
    named = {"store": "SRLM_STORE", "tracking_uri": "SRLM_TRACKING_URI"}
    missing = [name for name in named if not parameters.get(name)]
    try:
        found = named_by_chart(connect(namespace), recipe.cluster) if missing else {}
    except ClusterError:
        found = {}  # what is missing is told with the remedy
    return {**parameters, **{name: found.get(named[name], "") for name in missing}}


def check_parameters(parameters: Mapping[str, str]) -> None:
    """Raises UserError for a store or registry that no pod can reach, and for a password in an address."""
    for name, option in (("store", "--store"), ("tracking_uri", "--tracking-uri")):
        value = parameters.get(name, "")
        if "://" not in value:
            problem = f"is {value!r}, a folder of this machine" if value else "is not given"
            raise UserError(
                f"the {name} {problem}: pods on a cluster need one that they can reach",
                f"Give {option}, or set SRLM_{name.upper()} (the chart's config map has it).",
            )
    for name, value in parameters.items():
        if urlsplit(value).password:
            raise UserError(
                f"{name} holds a password, and pipeline parameters are shown to everybody who sees the run",
                "Take it out of the address; keys belong into the secret that the recipe's cluster.secret names.",
            )


def _submit(
    client: Client, recipe: Recipe, target: KubeflowTarget, name: str, parameters: dict[str, str], package: Path
) -> Submitted:
    namespace = _namespace(client, target)
    pipeline = _pipeline(client, recipe, namespace)
    version, version_name = _version(client, pipeline, package)
    experiment = _experiment(client, target.experiment or recipe.name, namespace)
    runs = client._run_api.run_service_list_runs(experiment_id=experiment, filter=named(name)).runs or []
    run = next((run for run in runs if run.state not in ENDED_BADLY), None)
    again = run is not None
    if run is None:
        run = client.run_pipeline(
            experiment,
            name,
            params={key: value for key, value in parameters.items() if value},
            pipeline_id=pipeline,
            version_id=version,
            service_account=recipe.cluster.service_account,
        )
    return Submitted(run.run_id, version_name, target.page(run.run_id), again)


def _namespace(client: Client, target: KubeflowTarget) -> str | None:
    """Kubeflow for several users wants a namespace everywhere; without users it refuses one."""
    if not client.get_kfp_healthz().multi_user:
        return None
    namespace = target.namespace or client.get_user_namespace()
    if not namespace:
        raise UserError("this Kubeflow has several users and no namespace is named", "Give yours with --namespace.")
    return namespace


def _experiment(client: Client, name: str, namespace: str | None) -> str:
    """The id of the experiment of that name, made where it is not there yet."""
    import kfp_server_api

    api = client._experiment_api
    in_namespace = {"namespace": namespace} if namespace else {}
    new = kfp_server_api.V2beta1Experiment(display_name=name, **in_namespace)

    def find() -> Sequence[Any]:
        return api.experiment_service_list_experiments(filter=named(name), **in_namespace).experiments or []

    return str(_found_or_made(find, lambda: api.experiment_service_create_experiment(experiment=new)).experiment_id)


def _pipeline(client: Client, recipe: Recipe, namespace: str | None) -> str:
    """The id of the pipeline of the recipe's name, made where it is not there yet."""
    import kfp_server_api

    api = client._pipelines_api
    in_namespace: dict[str, Any] = {"namespace": namespace} if namespace else {}
    new = kfp_server_api.V2beta1Pipeline(
        name=recipe.name, display_name=recipe.name, description=recipe.description, **in_namespace
    )

    def find() -> Sequence[Any]:
        return api.pipeline_service_list_pipelines(filter=named(recipe.name), **in_namespace).pipelines or []

    return str(_found_or_made(find, lambda: api.pipeline_service_create_pipeline(pipeline=new)).pipeline_id)


def _version(client: Client, pipeline: str, package: Path) -> tuple[str, str]:
    """Id and name of the version that is exactly this package, uploaded where it is not there yet."""
    import yaml

    name = version_of(list(yaml.safe_load_all(package.read_text())))

    def find() -> Sequence[Any]:
        return client.list_pipeline_versions(pipeline, filter=named(name)).pipeline_versions or []

    made = _found_or_made(find, lambda: client.upload_pipeline_version(str(package), name, pipeline_id=pipeline))
    return made.pipeline_version_id, name


def _found_or_made(find: Callable[[], Sequence[Any]], make: Callable[[], Any]) -> Any:
    """What is there, else what is made now; another who makes the same at this moment is no failure."""
    from kfp_server_api import ApiException

    if existing := find():
        return existing[0]
    try:
        return make()
    except ApiException as error:
        if error.status != 409 or not (existing := find()):
            raise
        return existing[0]
