"""What the version before this one has registered is found by this one; what a newer one has registered is told.

`store.tar.xz` is explained in test_upgrade.py; its journal says what the registry was given.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

from components.core.errors import UserError
from components.core.journal import read_journal
from components.registry.champion import find_champion, promote_against, registered
from components.registry.client import DIGEST, MEASURED, STAGE
from components.registry.model_run import TrainedModel
from components.registry.registry import register

pytestmark = [pytest.mark.faults, pytest.mark.slow]
NEWER = ['{"stages": []}', "v2;a;b", '"a"', "[1]"]


def notes_of(folder: Path) -> list[dict[str, Any]]:
    """Of the models of the run in the old store, which lies in `folder` now."""
    with tarfile.open(Path(__file__).with_name("store.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    store = folder / "store"

    def here(uri: str) -> str:
        return str(store.joinpath(*uri.split("/")[-2:]))

    notes = read_journal(str(store), "tiny", "models")
    return [{**note, "uri": here(note["uri"]), "measured": [here(uri) for uri in note["measured"]]} for note in notes]


def test_what_the_version_before_registered_is_found_and_not_registered_again(
    tmp_path: Path, client: MlflowClient, registered_name: str
) -> None:
    notes = notes_of(tmp_path)
    client.create_registered_model(registered_name)
    for note in notes:  # as that version did it, without what it logged
        tags = {DIGEST: note["digest"], STAGE: note["uri"], MEASURED: json.dumps(note["measured"]), "srlm.run": "tiny"}
        made = client.create_model_version(registered_name, f"folder://{note['uri']}", tags=tags)
        client.set_registered_model_alias(registered_name, note["name"], made.version)
    client.set_registered_model_alias(registered_name, "champion", "4")
    for number, note in enumerate(notes, 1):
        model = TrainedModel(registered_name, note["name"], note["uri"], note["measured"], "tiny")
        version = registered(register(client, model))
        assert (version.version, version.digest, version.measured) == (str(number), note["digest"], note["measured"])
    assert len(client.search_model_versions(f"name = '{registered_name}'")) == len(notes) == 4
    champion = find_champion(client, registered_name)
    assert champion is not None and champion.digest == notes[-1]["digest"]
    assert promote_against(client, champion, "whatever it was")


@pytest.mark.parametrize("measured", NEWER)
def test_what_a_newer_version_registered_is_told(measured: str) -> None:
    tags = [ModelVersionTag(DIGEST, "d"), ModelVersionTag(MEASURED, measured)]
    version = ModelVersion("demo", "3", 0, tags=tags)
    with pytest.raises(UserError, match="version 3 of demo in the registry was written by a newer version"):
        registered(version)
