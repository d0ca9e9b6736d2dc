"""docs/operations.md on a laptop: backed up, lost, restored, and the registry and every lineage say what they said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with a store and a registry of its own, which hold two models and one that is not registered."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / ".srlm"))
    with services(keep=True) as local:  # and then nobody's: `srlm down` refuses under who uses them
        for name, value in local.environment().items():
            monkeypatch.setenv(name, value)
        store_module._s3.cache_clear()
        for alias, right in (("m1", 20), ("m2", 40)):
            model = trained(STORE, "demo", alias, right)
            apply_verdict(STORE, local.tracking_uri, model, gated(STORE, local.tracking_uri, model))
        make_model(STORE, "nobody's")
        (tmp_path / "registry").write_text(local.tracking_uri)
    yield tmp_path
    stop_services(force=True)
    store_module._s3.cache_clear()


@pytest.fixture
def shell(home: Path) -> Shell:
    """Run lines of the page in that folder, with this environment's programs on PATH."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(lines: str) -> str:
        environment = os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(["bash", "-ec", lines], cwd=home, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{lines}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def said(shell: Shell) -> str:
    """What `srlm models` and `srlm lineage` of two aliases print, but for how the servers are started."""
    aliases = ("m1", "champion")
    asked = ["srlm models", *(f"srlm lineage models:/demo@{alias}" for alias in aliases)]
    lines = "".join(shell(one) for one in asked).splitlines()
    assert any("champion" in line for line in lines) and not any("is gone" in line for line in lines)
    return "\n".join(line for line in lines if not line.startswith("starting"))


def test_a_laptop_is_restored_from_its_archive(home: Path, shell: Shell) -> None:
    before = said(shell)
    shell(commands("Backup", "srlm-backup"))
    shutil.rmtree(home / ".srlm")
    shell(commands("Restore", "srlm-backup"))
    assert said(shell) == before


@pytest.mark.skipif(not shutil.which("aws"), reason="needs the AWS CLI")
def test_store_and_registry_are_restored_one_by_one(home: Path, shell: Shell) -> None:
    """The lines for a cluster, without the kubectl before them: the database is this machine's file."""
    before = said(shell)
    copy, paste = (local(commands(section, "copy.db"), home) for section in ("Backup", "Restore"))
    shell(copy)
    store = open_store(f"s3://{BUCKET}")
    for name in store.names():
        store.delete(name)
    with registry((home / "registry").read_text()) as client:
        client.delete_registered_model("demo")
    assert not open_store(STORE).names()
    shell(paste)
    assert said(shell) == before


def local(lines: str, home: Path) -> str:
    """The same where the server is no pod."""
    kept = [line for line in lines.splitlines() if "rollout" not in line]
    text = re.sub(r"kubectl exec (?:-i )?-n runs deploy/srlm-mlflow -c mlflow -- ", "", "\n".join(kept))
    return text.replace("/data/mlflow.db", str(home / ".srlm" / "mlflow.db")).replace("/tmp/copy", str(home / "copy"))


def test_the_registry_is_upgraded_by_hand(home: Path, shell: Shell) -> None:
    shell("srlm down")
    shell(commands("Upgrade", "mlflow db upgrade"))
    assert (home / "mlflow-before.db").exists()
    assert "champion" in said(shell)


def test_gc_on_real_servers_takes_nothing_that_an_alias_s_lineage_names(home: Path, shell: Shell) -> None:
    """Today nothing is old enough; in three months one model is nobody's, and another when its version is deleted."""
    assert "there is nothing to remove" in shell("srlm gc --yes")
    before = said(shell)
    later = Rules(timedelta(days=30), now=datetime.now(UTC) + timedelta(days=90))
    tracking_uri = (home / "registry").read_text()
    judged = plan(STORE, lambda: all_versions(tracking_uri), later)
    [removed] = list(carry_out(STORE, judged))
    assert removed.what == "models" and removed.objects
    assert said(shell) == before
    with registry(tracking_uri) as client:
        [first, second] = sorted(client.search_model_versions("name = 'demo'"), key=lambda one: int(one.version))
        client.delete_model_version("demo", first.version)
    gone = list(carry_out(STORE, plan(STORE, lambda: all_versions(tracking_uri), later)))
    places = {part.folder.place for part in gone}
    assert first.tags["srlm.stage"].removeprefix(f"{STORE}/") in places
    assert not [one for one in lineage(second.tags["srlm.stage"]) if one.problem]
    assert not places & {one.uri.removeprefix(f"{STORE}/") for one in lineage(second.tags["srlm.stage"])}
