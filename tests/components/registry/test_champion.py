"""Who is champion: promoted by proof or by hand, rolled back, and never one whose files are not what was measured."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.errors import UserError
from components.core.stage import read_manifest
from components.core.store import open_store
from components.registry.champion import (
    RegisteredModel,
    find_champion,
    promote,
    promote_against,
    registered,
    roll_back,
)
from components.registry.references import resolve, resolve_registered
from components.registry.registry import register
from tests.helpers.registered_models import model_file, trained

pytestmark = pytest.mark.slow


@pytest.fixture
def models(client: MlflowClient, registered_name: str, tmp_path: Path) -> list[RegisteredModel]:
    """Versions 1, 2 and 3; none is champion."""
    aliases = ("m1", "m2", "m3")
    return [registered(register(client, trained(tmp_path, registered_name, alias))) for alias in aliases]


def alias(client: MlflowClient, name: str, alias: str) -> str | None:
    """The version that an alias names."""
    found = client.get_registered_model(name).aliases.get(alias)
    return str(found) if found else None


def places(client: MlflowClient, name: str) -> tuple[str | None, str | None]:
    """Versions of champion and previous."""
    return alias(client, name, "champion"), alias(client, name, "previous")


def test_without_a_promotion_there_is_no_champion(client: MlflowClient, models: list[RegisteredModel]) -> None:
    assert find_champion(client, models[0].name) is None
    assert find_champion(client, "no-such-model") is None


def test_promotion_moves_the_champion_to_previous(client: MlflowClient, models: list[RegisteredModel]) -> None:
    assert promote(client, models[0]) is None
    assert places(client, models[0].name) == ("1", None)
    assert promote(client, models[1]) == models[0]
    assert places(client, models[0].name) == ("2", "1")


def test_promoting_the_champion_again_changes_nothing(client: MlflowClient, models: list[RegisteredModel]) -> None:
    for model in (models[0], models[1], models[1]):
        promote(client, model)
    assert places(client, models[0].name) == ("2", "1")


def change_a_byte(model: RegisteredModel) -> None:
    path = model_file(model.stage)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def remove_a_file(model: RegisteredModel) -> None:
    model_file(model.stage).unlink()


def edit_the_manifest(model: RegisteredModel) -> None:
    """The digest stays, the files are others."""
    manifest = read_manifest(model.stage)
    name, file = next(iter(manifest.files.items()))
    changed = manifest.model_copy(update={"files": {**manifest.files, name: replace_hash(file)}})
    open_store(model.stage).write("manifest.json", changed.model_dump_json().encode())


def replace_hash(file):  # type: ignore[no-untyped-def]
    return file.model_copy(update={"sha256": "0" * 64})


def forge_the_digest(model: RegisteredModel) -> None:
    manifest = read_manifest(model.stage).model_copy(update={"digest": "0" * 64})
    open_store(model.stage).write("manifest.json", manifest.model_dump_json().encode())


def garble_the_manifest(model: RegisteredModel) -> None:
    open_store(model.stage).write("manifest.json", b"{}")


def remove_the_manifest(model: RegisteredModel) -> None:
    open_store(model.stage).delete("manifest.json")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_a_byte, "does not have the content"),
        (remove_a_file, "does not have the content"),
        (edit_the_manifest, "does not have the content"),
        (forge_the_digest, "registered with digest"),
        (garble_the_manifest, "is no valid manifest"),
        (remove_the_manifest, "no finished stage"),
    ],
)
def test_what_is_not_what_was_registered_is_refused(client, models, damage, message) -> None:  # type: ignore[no-untyped-def]
    for model in models[:2]:
        promote(client, model)
    damage(models[2])
    with pytest.raises(UserError, match=message):
        promote(client, models[2])
    damage(models[0])
    with pytest.raises(UserError, match=message):
        roll_back(client, models[0].name)
    assert places(client, models[0].name) == ("2", "1")


def test_a_version_that_no_run_made_is_refused(client: MlflowClient, registered_name: str) -> None:
    client.create_registered_model(registered_name)
    client.create_model_version(registered_name, source="s3://somewhere/else")
    with pytest.raises(UserError, match="not registered by a run of this pipeline"):
        promote(client, registered(client.get_model_version(registered_name, "1")))
    assert find_champion(client, registered_name) is None


def test_a_verdict_holds_against_the_champion_it_was_made_with(
    client: MlflowClient, models: list[RegisteredModel]
) -> None:
    """m2 was compared with m1, and m3 has become champion since: m3 stays; compared with m3, m2 is promoted."""
    promote(client, models[2])
    assert not promote_against(client, models[1], models[0].digest)
    assert not promote_against(client, models[1], "")
    assert not promote_against(client, models[1], None)
    assert places(client, models[0].name) == ("3", None)
    assert promote_against(client, models[1], models[2].digest)
    assert places(client, models[0].name) == ("2", "3")
    assert promote_against(client, models[1], "whatever: it is champion")


def test_a_champion_that_somebody_set_by_hand_is_not_taken_for_none(
    client: MlflowClient, models: list[RegisteredModel]
) -> None:
    name = models[0].name
    number = client.create_model_version(name, source="s3://somewhere/else").version
    client.set_registered_model_alias(name, "champion", number)
    assert not promote_against(client, models[0], "")
    assert alias(client, name, "champion") == number


def test_rolling_back_goes_there_and_back(client: MlflowClient, models: list[RegisteredModel]) -> None:
    for model in models[:2]:
        promote(client, model)
    assert roll_back(client, models[0].name) == (models[0], models[1])
    assert places(client, models[0].name) == ("1", "2")
    assert roll_back(client, models[0].name) == (models[1], models[0])
    assert places(client, models[0].name) == ("2", "1")


def test_a_rolled_back_model_stays_so_until_somebody_promotes_it(
    client: MlflowClient, models: list[RegisteredModel]
) -> None:
    """The run that promoted m2 over m1 is repeated and finds its verdict again."""
    for model in models[:2]:
        promote(client, model)
    roll_back(client, models[0].name)
    assert not promote_against(client, models[1], models[0].digest)
    assert places(client, models[0].name) == ("1", "2")
    promote(client, models[1])
    roll_back(client, models[0].name)
    promote(client, models[1])
    assert promote_against(client, models[1], models[0].digest)
    promote(client, models[0])
    assert promote_against(client, models[1], models[0].digest)  # by hand: it is no longer marked


def test_there_must_be_a_champion_before(client: MlflowClient, models: list[RegisteredModel]) -> None:
    name = models[0].name
    with pytest.raises(UserError, match=f"{name} has no champion"):
        roll_back(client, name)
    promote(client, models[0])
    with pytest.raises(UserError, match="no champion before this one"):
        roll_back(client, name)
    client.set_registered_model_alias(name, "previous", "1")  # what two promotions at once may leave
    with pytest.raises(UserError, match="no champion before this one"):
        roll_back(client, name)
    assert alias(client, name, "champion") == "1"


def test_two_that_promote_at_once_leave_one_champion(client: MlflowClient, models: list[RegisteredModel]) -> None:
    """Whoever is last is champion, and the one before it is the other."""
    promote(client, models[0])
    one, other = models[1:]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda model: [promote(client, model) for _ in range(15)], (one, other)))
    champion, previous = places(client, one.name)
    assert champion in ("2", "3")
    assert previous in {"1", "2", "3"} - {champion}


def test_models_are_named_by_alias_version_or_stage(
    client: MlflowClient, tracking_uri: str, models: list[RegisteredModel]
) -> None:
    promote(client, models[1])
    one = models[1]
    assert resolve_registered(tracking_uri, f"models:/{one.name}@champion") == one
    assert resolve_registered(tracking_uri, f"models:/{one.name}/2") == one
    for reference, name in [(f"models:/{one.name}@m2", ""), (f"models:/{one.name}/2", ""), ("@champion", one.name)]:
        found = resolve(tracking_uri, reference, name)
        assert (found.stage, found.name, found.run, found.digest) == (one.stage, one.name, "run-1", one.digest)
    assert resolve(tracking_uri, one.stage).stage == one.stage


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models:/{name}@nobody", "has no models:"),
        ("models:/{name}/99", "has no models:"),
        ("models:/no-such-model/1", "has no models:"),
        ("models:/{name}", "names no version"),
        ("models:/{name}/latest", "names no version"),
        ("{name}", "names no version"),
        ("@champion", "names no version"),
    ],
)
def test_unknown_references_are_errors_of_the_user(tracking_uri, models, reference, message) -> None:  # type: ignore[no-untyped-def]
    reference = reference.format(name=models[0].name)
    with pytest.raises(UserError, match=message):
        resolve_registered(tracking_uri, reference)
    with pytest.raises(UserError):
        resolve(tracking_uri, reference)


def test_a_registry_that_is_down_is_not_a_model_that_is_missing(tracking_uri: str) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        resolve_registered("http://127.0.0.1:9", "models:/any/1")


def test_a_changed_digest_is_told_apart(client: MlflowClient, models: list[RegisteredModel]) -> None:
    with pytest.raises(UserError, match="registered with digest other"):
        promote(client, replace(models[0], digest="other"))
