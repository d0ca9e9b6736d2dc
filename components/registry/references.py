"""Models as people name them: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `@ALIAS`, or the URI of a model's stage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.stage import read_manifest
from components.registry.champion import RegisteredModel, registered
from components.registry.client import RUN, STAGE, not_there, registry

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
FORMS = "Give models:/NAME@ALIAS, models:/NAME/VERSION, or the URI of a model's stage in the store."


@dataclass(frozen=True)
class ModelReference:
    """A model as it was named (`label`), its stage, and what the registry knows of it: name, run and digest.

    These three are "" where it was named by its stage.
    """

    label: str
    stage: str
    name: str = ""
    run: str = ""
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "stage": self.stage, "digest": read_manifest(self.stage).digest}


def resolve(tracking_uri: str, reference: str, name: str = "") -> ModelReference:
    """The model that `reference` means; `@ALIAS` is of the registered model `name`.

    Raises UserError when there is no such model, RegistryError when the registry does not say.
    """
    registered_name(reference, name)
    if reference.startswith("@"):
        reference = f"models:/{name}{reference}"
    if not reference.startswith("models:"):
        read_manifest(reference)
        return ModelReference(reference, reference)
    version = _find_version(tracking_uri, reference)
    stage = version.tags.get(STAGE, "")
    if not stage:
        raise UserError(f"{reference} was not registered by a run of this pipeline", FORMS)
    return ModelReference(reference, stage, version.name, version.tags.get(RUN, ""), registered(version).digest)


def registered_name(reference: str, name: str = "") -> str:
    """The registered model that a reference names, "" where it names a stage. Raises UserError for what is neither;
    nobody is asked."""
    if reference.startswith("@") and name:
        return name
    if reference.startswith("@"):
        raise UserError(f"{reference} of which registered model?", "Give models:/NAME@ALIAS.")
    if reference.startswith("models:"):
        return _parsed(reference)["name"]
    if "/" not in reference:
        raise UserError(f"{reference!r} names no version of a registered model", FORMS)
    return ""


def resolve_registered(tracking_uri: str, reference: str) -> RegisteredModel:
    """A version of the registry; raises UserError when `reference` names none."""
    return registered(_find_version(tracking_uri, reference))


def _find_version(tracking_uri: str, reference: str) -> ModelVersion:
    """MLflow's version by its alias or number."""
    from mlflow.exceptions import MlflowException

    parsed = _parsed(reference)
    name, alias, number = parsed["name"], parsed["alias"], parsed["version"]
    with registry(tracking_uri) as client:
        try:
            return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        except MlflowException as error:
            if not not_there(error):
                raise
            raise UserError(
                f"the registry {tracking_uri} has no {reference}", "srlm models shows what there is."
            ) from error


def _parsed(reference: str) -> re.Match[str]:
    """Its name, and its alias or version."""
    parsed = _REGISTERED.fullmatch(reference)
    if not parsed:
        raise UserError(f"{reference!r} names no version of a registered model", FORMS)
    return parsed
