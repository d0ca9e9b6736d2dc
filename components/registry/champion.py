"""The aliases that say which model counts: champion, the one before it (previous), and the newest (candidate).

An alias names one version, so there is one champion whoever promotes at the same time: the last one wins. MLflow cannot
set an alias on a condition, so at worst `previous` then names an older champion than the last, or the champion itself,
and rolling back refuses that or goes further back; no version is lost, and `srlm promote` names any of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from components.core.errors import UserError, too_new
from components.core.model_files import check_files
from components.core.progress import say
from components.core.stage import read_manifest
from components.registry.client import DIGEST, MEASURED, STAGE, find_alias, write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
ROLLED_BACK = "srlm.rolled_back"
SIGN_OFF, WAITS = "srlm.sign_off", "waits"


@dataclass(frozen=True)
class RegisteredModel:
    """A version of the registry: its number, the digest of its files, its stage and the stages that measured it.

    A version that no run of this pipeline registered has no stage, and a digest that no model has.
    """

    name: str
    version: str
    digest: str
    stage: str
    measured: Sequence[str]


def registered(version: ModelVersion) -> RegisteredModel:
    """A version as it was tagged when it was registered. Raises UserError where a newer version of this code did that
    in another form."""
    tags, number = version.tags, str(version.version)
    digest = tags.get(DIGEST, f"unknown, version {number}")
    try:
        measured = json.loads(tags.get(MEASURED, "[]"))
    except ValueError:
        measured = None
    if not isinstance(measured, list) or not all(isinstance(uri, str) for uri in measured):
        raise too_new(f"version {number} of {version.name} in the registry", f"this form of its tag {MEASURED}")
    return RegisteredModel(version.name, number, digest, tags.get(STAGE, ""), measured)


def find_champion(client: MlflowClient, name: str) -> RegisteredModel | None:
    """The champion of that name; None where there is none yet."""
    version = find_alias(client, name, CHAMPION)
    return registered(version) if version else None


def nominate(client: MlflowClient, model: RegisteredModel) -> None:
    """Make a version `candidate` unless a newer one is: who finds again what it made before does not take that back."""
    latest = find_alias(client, model.name, CANDIDATE)
    if latest is None or int(latest.version) < int(model.version):
        write(client.set_registered_model_alias, model.name, CANDIDATE, model.version)


def promote(client: MlflowClient, model: RegisteredModel) -> RegisteredModel | None:
    """Make a version champion; the champion so far becomes `previous` and is returned. Again is no change.

    Raises UserError when the model's files are not those that were registered.
    """
    _require_registered_files(model)
    before = find_champion(client, model.name)
    if before is None or before.version != model.version:
        if before:  # first: whatever happens in between, the next try does the same again
            write(client.set_registered_model_alias, model.name, PREVIOUS, before.version)
        write(client.set_registered_model_alias, model.name, CHAMPION, model.version)
    write(client.delete_model_version_tag, model.name, model.version, ROLLED_BACK)
    return before


def promote_against(client: MlflowClient, model: RegisteredModel, compared_with: str | None) -> bool:
    """Follow a verdict: promote, if the champion still is the one with the digest `compared_with` ("": none).

    A run that is repeated finds its verdicts again; they must not undo what was decided since. A version that was
    rolled back stays so until somebody promotes it by hand.
    """
    champion = find_champion(client, model.name)
    if champion and champion.digest == model.digest:
        return True
    by_hand = f"srlm promote models:/{model.name}/{model.version} makes it champion"
    if (champion.digest if champion else "") != compared_with:
        say(f"version {model.version} of {model.name} was compared with another champion, not promoted: {by_hand}")
        return False
    if ROLLED_BACK in client.get_model_version(model.name, model.version).tags:
        say(f"version {model.version} of {model.name} was rolled back, not promoted: {by_hand} again")
        return False
    promote(client, model)
    return True


def await_sign_off(client: MlflowClient, model: RegisteredModel) -> bool:
    """Mark a version that passed the gate as one that waits for a person; returns whether it is champion already.

    One that somebody has signed off keeps that mark, whatever became champion since.
    """
    champion = find_champion(client, model.name)
    is_champion = champion is not None and champion.digest == model.digest
    if not is_champion and SIGN_OFF not in client.get_model_version(model.name, model.version).tags:
        write(client.set_model_version_tag, model.name, model.version, SIGN_OFF, WAITS)
        say(f"version {model.version} waits for sign-off: srlm promote models:/{model.name}/{model.version}")
    return is_champion


def sign_off(client: MlflowClient, model: RegisteredModel, person: str) -> None:
    """Note who promoted a version that waited for it, and when (UTC)."""
    if SIGN_OFF in client.get_model_version(model.name, model.version).tags:
        signed = f"by {person}, {datetime.now(UTC):%Y-%m-%d %H:%M}"
        write(client.set_model_version_tag, model.name, model.version, SIGN_OFF, signed)


def roll_back(client: MlflowClient, name: str) -> tuple[RegisteredModel, RegisteredModel]:
    """Champion and previous change places; returns the new and the old champion.

    Raises UserError where there is no other champion to go back to, or its files are not those that were registered.
    """
    champion, previous = find_champion(client, name), find_alias(client, name, PREVIOUS)
    if champion is None:
        raise UserError(f"{name} has no champion", "srlm models shows what there is.")
    if previous is None or str(previous.version) == champion.version:
        raise UserError(f"{name} has no champion before this one", "srlm models shows the versions that there are.")
    before = registered(previous)
    _require_registered_files(before)
    write(client.set_model_version_tag, name, champion.version, ROLLED_BACK, "true")
    write(client.set_registered_model_alias, name, CHAMPION, before.version)
    write(client.set_registered_model_alias, name, PREVIOUS, champion.version)
    write(client.delete_model_version_tag, name, before.version, ROLLED_BACK)
    return before, champion


def _require_registered_files(model: RegisteredModel) -> None:
    if not model.stage:
        raise UserError(
            f"version {model.version} of {model.name} was not registered by a run of this pipeline",
            "Only its models can be promoted: they carry their lineage.",
        )
    try:
        digest = read_manifest(model.stage).digest
    except ValueError:  # not JSON, or not a manifest's
        digest = "a manifest that cannot be read"
    if digest != model.digest:
        raise UserError(
            f"version {model.version} of {model.name} was registered with digest {model.digest}, but {model.stage} "
            f"has {digest}",
            "The store was changed: run the pipeline again, which registers what it makes.",
        )
    check_files(model.stage)
