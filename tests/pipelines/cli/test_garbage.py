"""`srlm gc` against a real registry: what it prints, what it asks, what it leaves."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from components.core.errors import UserError
from components.core.model_files import models_cache
from components.core.stage import find_manifest
from components.core.store import home
from components.gate.register import apply_verdict
from components.registry.lineage import lineage
from pipelines.cli import garbage, main, models
from pipelines.cli.garbage import parse_age, size
from tests.helpers.old_stages import age
from tests.helpers.registered_models import gated, make_model, trained

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path, tracking_uri: str, registered_name: str) -> Path:
    """Two registered models, m1-NAME and m2-NAME, and one that nobody registered; all is three months old.

    Their content is in no other test's store: the registry is one for all, and its versions keep what is the same.
    """
    root = tmp_path / "store"
    for alias, right in (("m1", 20), ("m2", 40)):
        model = trained(root, registered_name, f"{alias}-{registered_name}", right)
        apply_verdict(str(root), tracking_uri, model, gated(root, tracking_uri, model))
    make_model(root, "nobody's")
    age(root, timedelta(days=90))
    return root


def gc(store: Path, server: str, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `srlm gc` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        said = Console(width=110, record=True, quiet=False, file=open(os.devnull, "w"))  # noqa: SIM115
        patch.setattr(sys, "argv", ["srlm", "gc", *arguments, "--store", str(store), "--tracking-uri", server])
        patch.setattr(garbage, "console", said)
        with pytest.raises(SystemExit) as ended:
            main.main()
        return int(ended.value.code or 0), said.export_text()


def files(store: Path) -> set[Path]:
    return {path for path in store.rglob("*") if path.is_file()}


def test_what_goes_is_shown_first_and_removed_with_yes(store: Path, tracking_uri: str) -> None:
    before = files(store)
    for arguments in (["--dry-run"], []):
        code, shown = gc(store, tracking_uri, *arguments)
        assert code == 0 and files(store) == before
        assert "goes" in shown and "no version, alias or recent run needs it" in shown
        assert "registered versions, and what they were made from" in shown
        assert "nothing was removed" in shown
    code, shown = gc(store, tracking_uri, "--yes", "--list")
    assert code == 0 and "removed 1 models (" in shown
    assert sum(path.name == "manifest.json" for path in before - files(store)) == 1
    assert len([line for line in shown.splitlines() if line.startswith("goes")]) == 1
    assert "there is nothing to remove" in gc(store, tracking_uri, "--yes")[1]


def test_no_alias_loses_anything_and_a_deleted_version_does(
    store: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    def history(alias: str) -> list[str]:
        model = models.resolve(tracking_uri, f"models:/{registered_name}@{alias}")
        ancestors = lineage(model.stage, model.digest)
        assert not [one for one in ancestors if one.problem]
        return [one.uri for one in ancestors if one.stage]

    champion, first = history("champion"), history(f"m1-{registered_name}")
    gc(store, tracking_uri, "--yes")
    assert (history("champion"), history(f"m1-{registered_name}")) == (champion, first)
    client.delete_model_version(registered_name, "1")
    code, _ = gc(store, tracking_uri, "--yes")
    assert code == 0 and history("champion") == champion
    assert not find_manifest(first[0])


def test_a_registry_that_is_down_takes_nothing(store: Path) -> None:
    before = files(store)
    code, _ = gc(store, "http://127.0.0.1:9", "--yes")
    assert code == 2 and files(store) == before


def test_an_empty_registry_takes_no_run_s_models(store: Path, tmp_path: Path) -> None:
    code, shown = gc(store, f"sqlite:///{tmp_path}/empty.db", "--yes")
    assert code == 0 and "--forget run-1" in " ".join(shown.split())
    assert len(list(store.glob("sft/*/manifest.json"))) == 2


def test_copies_of_models_on_this_machine_go_by_their_last_use(store: Path, tracking_uri: str) -> None:
    """They are fetched again; scratch folders of killed processes stay for two weeks."""
    cache = models_cache(home())
    for folder, days in (
        (cache / "files-0", 40),
        (cache / "files-1", 5),
        (cache / ".draft-2", 40),
        (home() / "work" / "x", 9),
    ):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("x" * 10)
        age(folder, timedelta(days=days))
        date = (folder / "model.safetensors").stat().st_mtime
        os.utime(folder, (date, date))
    assert "cached models" in gc(store, tracking_uri, "--dry-run")[1]
    gc(store, tracking_uri, "--yes", "--older-than", "7d")
    assert [path.name for path in cache.iterdir()] == ["files-1"] and (home() / "work" / "x").exists()


@pytest.mark.parametrize(("text", "hours"), [("36h", 36), ("30d", 720), ("8w", 1344)])
def test_ages(text: str, hours: int) -> None:
    assert parse_age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["30", "d", "-3d", "23h", "0d", "1.5d", ""])
def test_ages_that_are_none_or_too_short_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--older-than"):
        parse_age(text)


def test_sizes() -> None:
    assert [size(one) for one in (0, 950, 1400, 2.5e9, 3.2e15)] == ["0 B", "950 B", "1.4 kB", "2.5 GB", "3,200.0 TB"]
