"""Models as people name them: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `@ALIAS`, or the URI of a model's stage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from components.errors import UserError
from components.registry.champion import RegisteredModel, registered
from components.registry.client import STAGE, first_line, open_registry
from components.stage import read_manifest

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
FORMS = "Give models:/NAME@ALIAS, models:/NAME/VERSION, or the URI of a model's stage in the store."


@dataclass(frozen=True)
class ModelReference:
    """A model that was found: how it was named, its stage, and the run that made it where that is known."""

    label: str
    stage: str
    name: str = ""
    run: str = ""

    def plain(self) -> dict[str, Any]:
        return {"label": self.label, "stage": self.stage, "digest": read_manifest(self.stage).digest}


def resolve(tracking_uri: str, reference: str, name: str = "") -> ModelReference:
    """The model that `reference` means; `@ALIAS` and a bare alias are of the registered model `name`.

    Raises UserError when there is no such model.
    """
    if reference.startswith("@") and name:
        reference = f"models:/{name}{reference}"
    if not reference.startswith("models:"):
        read_manifest(reference)
        return ModelReference(reference, reference)
    found = _REGISTERED.fullmatch(reference)
    if not found:
        raise UserError(f"{reference!r} names no model", FORMS)
    version = find_version(tracking_uri, found["name"], found["alias"] or "", found["version"] or "")
    stage = version.tags.get(STAGE, "")
    if not stage:
        raise UserError(f"{reference} was not registered by a run of this pipeline", FORMS)
    return ModelReference(reference, stage, found["name"], version.tags.get("srlm.run", ""))


def resolve_registered(tracking_uri: str, reference: str) -> RegisteredModel:
    """A version of the registry; raises UserError when `reference` names none."""
    found = _REGISTERED.fullmatch(reference)
    if not found:
        raise UserError(f"{reference!r} names no version of the registry", FORMS)
    return registered(find_version(tracking_uri, found["name"], found["alias"] or "", found["version"] or ""))


def find_version(tracking_uri: str, name: str, alias: str, number: str) -> Any:
    """MLflow's version by its alias or number."""
    from mlflow.exceptions import MlflowException

    client = open_registry(tracking_uri)
    try:
        return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except MlflowException as error:
        what = f"@{alias}" if alias else f"/{number}"
        raise UserError(
            f"the registry {tracking_uri} has no models:/{name}{what} ({first_line(error)})",
            "srlm models shows what there is.",
        ) from error
