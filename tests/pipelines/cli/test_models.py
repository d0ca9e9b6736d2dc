"""`srlm models`, `promote`, `rollback` and `lineage` against a real server: what they print, and their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from components.core.store import home
from components.gate.register import apply_verdict
from pipelines.cli import main, registry
from tests.helpers.paths import ROOT
from tests.helpers.registered_models import gated, model_file, trained

pytestmark = pytest.mark.slow
NOBODY = "http://127.0.0.1:9"


@dataclass
class Ended:
    code: int
    out: str
    err: str


Srlm = Callable[..., Ended]


@pytest.fixture
def srlm(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Srlm:
    """Run the command in this process; `server` is the registry that it is told."""

    def run(*arguments: str, server: str = tracking_uri, width: int = 110) -> Ended:
        place = ["--tracking-uri", server] + ([] if arguments[0] == "models" else ["--store", str(tmp_path)])
        monkeypatch.setattr(sys, "argv", ["srlm", *arguments, *place])
        monkeypatch.setattr(registry, "console", Console(width=width))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def name(tmp_path: Path, tracking_uri: str, registered_name: str) -> str:
    """A registered model: version 1 is the baseline, 2 (m1) was champion before 3 (m2)."""
    apply_verdict(str(tmp_path), tracking_uri, trained(tmp_path, registered_name, "sft", right=10))
    for alias, right in (("m1", 20), ("m2", 40)):
        model = trained(tmp_path, registered_name, alias, right)
        apply_verdict(str(tmp_path), tracking_uri, model, gated(tmp_path, tracking_uri, model))
    return registered_name


def test_models_shows_versions_aliases_verdicts_and_figures(srlm: Srlm, name: str) -> None:
    """The judge orders 10, 20, 40 of 40 pairs as people did."""
    ended = srlm("models", name)
    assert ended.code == 0
    for text in (
        name,
        "champion",
        "previous",
        "candidate",
        "m1",
        "m2",
        "sft",
        "promote",
        "25.0 %",
        "50.0 %",
        "100.0 %",
    ):
        assert text in ended.out
    assert name in srlm("models").out


def test_what_scripts_read_is_one_document(srlm: Srlm, name: str) -> None:
    """The judge orders 10, 20, 40 of 40 pairs as people did; promoting and rolling back change which version counts."""
    (model,) = json.loads(srlm("models", name, "--json").out)["models"]
    assert (model["name"], model["aliases"]["champion"], model["aliases"]["previous"]) == (name, "3", "2")
    assert [version["metrics"]["pairwise_accuracy"] for version in model["versions"]] == [0.25, 0.5, 1.0]
    assert [version["verdict"] for version in model["versions"]] == [None, "promote", "promote"]
    assert json.loads(srlm("rollback", name, "--json").out) == {"name": name, "champion": "2", "rolled_back": "3"}
    promoted = json.loads(srlm("promote", f"models:/{name}/3", "--json").out)
    assert promoted == {"name": name, "champion": "3", "previous": "2"}
    told = json.loads(srlm("lineage", f"models:/{name}@m2", "--json").out)
    assert told["ancestors"][0]["uri"] == told["stage"] == model["versions"][2]["stage"]
    assert srlm("models", "nosuch", "--json").code == 2


def test_models_cuts_nothing_in_a_narrow_terminal(srlm: Srlm, name: str, client: MlflowClient) -> None:
    """On 80 columns a digest stands in one piece; on 44 it is folded, and whole when its column is read downwards."""
    digest = client.get_model_version(name, "3").tags["srlm.digest"][:12]
    wide, narrow = (srlm("models", name, width=width).out for width in (80, 44))
    assert digest in wide and "candidate" in wide
    for out, width in ((wide, 80), (narrow, 44)):
        assert "…" not in out
        assert max(map(len, out.splitlines())) <= width
    header = next(line for line in narrow.splitlines() if "LC" in line and "date" in line)
    start, end = header.index("LC") + 2, header.index("date")
    assert digest in "".join(line[start:end].strip() for line in narrow.splitlines())


def test_models_starts_no_server_of_its_own(srlm: Srlm, name: str) -> None:
    srlm("models", name)
    assert not (home() / "services").exists()


@pytest.mark.parametrize("name", ["no-such-model", "it's", "a/b"])
def test_no_models_are_one_message(srlm: Srlm, name: str) -> None:
    ended = srlm("models", name)
    assert (ended.code, ended.out) == (2, "")
    assert f"holds no models named {name}" in ended.err
    assert "Traceback" not in ended.err


def test_an_empty_registry_is_one_message(srlm: Srlm, tmp_path: Path) -> None:
    """A registry in a file of its own needs no server."""
    ended = srlm("models", server=f"sqlite:///{tmp_path}/empty.db")
    assert (ended.code, ended.out) == (2, "")
    assert "holds no models. srlm run makes some." in " ".join(ended.err.split())


@pytest.mark.parametrize(
    "arguments", [("models",), ("promote", "models:/any/1"), ("rollback", "any"), ("lineage", "models:/any@champion")]
)
def test_a_registry_that_is_down_is_one_message(srlm: Srlm, arguments: tuple[str, ...]) -> None:
    ended = srlm(*arguments, server=NOBODY)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.strip().splitlines()[-1].startswith(f"error: the MLflow server {NOBODY} cannot be used (")
    assert "Connection refused" in ended.err and "Traceback" not in ended.err


def test_promote_says_what_it_did(srlm: Srlm, name: str, client: MlflowClient) -> None:
    ended = srlm("promote", f"models:/{name}@m1")
    assert (ended.code, ended.out) == (0, f"version 2 of {name} is champion, before it was version 3\n")
    assert client.get_model_version_by_alias(name, "champion").version == "2"
    assert srlm("promote", f"models:/{name}/2").out == f"version 2 of {name} is champion already\n"
    assert client.get_model_version_by_alias(name, "previous").version == "3"


def test_promote_refuses_changed_files(srlm: Srlm, name: str, client: MlflowClient) -> None:
    path = model_file(client.get_model_version(name, "1").tags["srlm.stage"])
    path.write_text("SFT")
    ended = srlm("promote", f"models:/{name}/1")
    assert ended.code == 2
    assert "does not have the content" in ended.err
    assert client.get_model_version_by_alias(name, "champion").version == "3"


def test_promote_needs_a_version(srlm: Srlm, name: str) -> None:
    ended = srlm("promote", name)
    assert ended.code == 2
    assert "names no version of a registered model. Give models:/NAME@ALIAS" in " ".join(ended.err.split())


def test_rollback_goes_there_and_back(srlm: Srlm, name: str) -> None:
    assert srlm("rollback", name).out == f"version 2 of {name} is champion again, version 3 was rolled back\n"
    assert srlm("rollback", name).out == f"version 3 of {name} is champion again, version 2 was rolled back\n"


def test_rollback_needs_a_champion_before(srlm: Srlm, tmp_path: Path, tracking_uri: str, registered_name: str) -> None:
    ended = srlm("rollback", registered_name)
    assert ended.code == 2 and f"{registered_name} has no champion" in ended.err
    model = trained(tmp_path, registered_name, "m1")
    apply_verdict(str(tmp_path), tracking_uri, model, gated(tmp_path, tracking_uri, model))
    ended = srlm("rollback", registered_name)
    assert ended.code == 2 and "no champion before this one" in ended.err


def test_lineage_is_a_tree_whose_lines_are_whole(srlm: Srlm, name: str, client: MlflowClient) -> None:
    tags = client.get_model_version_by_alias(name, "champion").tags
    ended = srlm("lineage", f"models:/{name}@champion", width=30)
    assert (ended.code, ended.out.splitlines()) == (
        0,
        [
            f"model (sft)  {tags['srlm.digest'][:12]}  {tags['srlm.stage']}  2 examples",
            "├─ messages  d0  s3://somebody-elses/messages.jsonl",
            "└─ weights  m2  made up",
        ],
    )
    assert srlm("lineage", tags["srlm.stage"]).out == ended.out


def test_lineage_says_when_the_stage_is_not_what_was_registered(srlm: Srlm, name: str, client: MlflowClient) -> None:
    client.set_model_version_tag(name, "3", "srlm.digest", "another")
    assert "is now " in srlm("lineage", f"models:/{name}/3").out.splitlines()[0]


def test_the_program_ends_with_one_message(tracking_uri: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.cli.main", "rollback", "nobody", "--store", str(tmp_path)]
    ended = subprocess.run(
        [*command, "--tracking-uri", tracking_uri], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: nobody has no champion. srlm models shows what there is.\n"
