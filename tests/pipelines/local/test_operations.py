"""docs/operations.md on a laptop: backed up, lost, restored, and the registry and every lineage say what they said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from components.core import store as store_module
from components.core.store import open_store
from components.gate.register import apply_verdict
from components.registry.client import registry
from components.registry.lineage import lineage
from components.registry.versions import all_versions
from components.run.garbage import Rules, carry_out, plan
from pipelines.local.services import BUCKET, services, stop_services
from tests.helpers.command_line import srlm
from tests.helpers.paths import ROOT
from tests.helpers.registered_models import gated, make_model, trained

pytestmark = pytest.mark.slow
STORE = f"s3://{BUCKET}/artifacts"
PAGE = (ROOT / "docs" / "operations.md").read_text()
Shell = Callable[..., str]


def commands(section: str, containing: str) -> str:
    """The block of a section of the page that holds this text."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return next(block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if containing in block)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One with a store and a registry of its own, which hold two models and one that is not registered. What a test
    takes away it brings back, but for the last."""
    made = tmp_path_factory.mktemp("laptop")
    with pytest.MonkeyPatch.context() as patch:
        tracking_uri = up(made, patch)
        for alias, right in (("m1", 20), ("m2", 40)):
            model = trained(STORE, "demo", alias, right)
            apply_verdict(STORE, tracking_uri, model, gated(STORE, tracking_uri, model))
        make_model(STORE, "nobody's")
        (made / "said").write_text(said(made))
        yield made
        stop_services(force=True)
    store_module._s3.cache_clear()


def up(folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Start what does not run, and use it; returns MLflow's address."""
    patch.setenv("SRLM_HOME", str(folder / ".srlm"))
    with services(keep=True) as local:  # and then nobody's: `srlm down` refuses under who uses them
        for name, value in local.environment().items():
            patch.setenv(name, value)
    store_module._s3.cache_clear()
    return local.tracking_uri


@pytest.fixture
def tracking_uri(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The servers are up, and this test uses them."""
    return up(folder, monkeypatch)


@pytest.fixture
def shell(folder: Path, tracking_uri: str) -> Shell:
    return partial(in_shell, folder)


def in_shell(folder: Path, lines: str) -> str:
    """Run lines of the page in that folder, with this environment's programs on PATH."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-ec", lines], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{lines}\n{done.stdout}{done.stderr}"
    return done.stdout


def said(folder: Path) -> str:
    """What `srlm models` and `srlm lineage` of two aliases print, once the servers are up."""
    in_shell(folder, "srlm up")
    asked = [("models",), *(("lineage", f"models:/demo@{alias}") for alias in ("m1", "champion"))]
    codes, texts = zip(*(srlm(folder, *words) for words in asked), strict=True)
    assert set(codes) == {0} and "champion" in texts[0] and not any("is gone" in text for text in texts), texts
    return "".join(texts)


def test_a_laptop_is_restored_from_its_archive(folder: Path, shell: Shell) -> None:
    shell(commands("Backup", "srlm-backup"))
    shutil.rmtree(folder / ".srlm")
    shell(commands("Restore", "srlm-backup"))
    assert said(folder) == (folder / "said").read_text()


@pytest.mark.skipif(not shutil.which("aws"), reason="needs the AWS CLI")
def test_store_and_registry_are_restored_one_by_one(folder: Path, tracking_uri: str, shell: Shell) -> None:
    """The lines for a cluster, without the kubectl before them: the database is this machine's file."""
    copy, paste = (local(commands(section, "copy.db"), folder) for section in ("Backup", "Restore"))
    shell(copy)
    store = open_store(f"s3://{BUCKET}")
    for name in store.names():
        store.delete(name)
    with registry(tracking_uri) as client:
        client.delete_registered_model("demo")
    assert not open_store(STORE).names()
    shell(paste)
    assert said(folder) == (folder / "said").read_text()


def local(lines: str, folder: Path) -> str:
    """The same where the server is no pod."""
    kept = [line for line in lines.splitlines() if "rollout" not in line]
    text = re.sub(r"kubectl exec (?:-i )?-n runs deploy/srlm-mlflow -c mlflow -- ", "", "\n".join(kept))
    return text.replace("/data/mlflow.db", str(folder / ".srlm" / "mlflow.db")).replace(
        "/tmp/copy", str(folder / "copy")
    )


def test_the_registry_is_upgraded_by_hand(folder: Path, shell: Shell) -> None:
    shell("srlm down")
    shell(commands("Upgrade", "mlflow db upgrade"))
    assert (folder / "mlflow-before.db").exists()
    assert said(folder) == (folder / "said").read_text()


def test_gc_on_real_servers_takes_nothing_that_an_alias_s_lineage_names(
    folder: Path, tracking_uri: str, shell: Shell
) -> None:
    """Today nothing is old enough; in three months one model is nobody's, and another when its version is deleted."""
    assert "there is nothing to remove" in shell("srlm gc --yes")
    later = Rules(timedelta(days=30), now=datetime.now(UTC) + timedelta(days=90))
    judged = plan(STORE, lambda: all_versions(tracking_uri), later)
    [removed] = list(carry_out(STORE, judged))
    assert removed.what == "models" and removed.objects
    assert said(folder) == (folder / "said").read_text()
    with registry(tracking_uri) as client:
        [first, second] = sorted(client.search_model_versions("name = 'demo'"), key=lambda one: int(one.version))
        client.delete_model_version("demo", first.version)
    gone = list(carry_out(STORE, plan(STORE, lambda: all_versions(tracking_uri), later)))
    places = {part.folder.place for part in gone}
    assert first.tags["srlm.stage"].removeprefix(f"{STORE}/") in places
    assert not [one for one in lineage(second.tags["srlm.stage"]) if one.problem]
    assert not places & {one.uri.removeprefix(f"{STORE}/") for one in lineage(second.tags["srlm.stage"])}
