"""A model's history over made-up stages: what came from what, and what can no longer be followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.records import Counts, Parent, Prompt
from components.core.settings import Settings
from components.core.stage import Stage, parent, read_manifest
from components.core.store import open_store
from components.registry.lineage import Ancestor, lineage
from pipelines.cli.models import branch
from tests.helpers.registered_models import make_model

STRANGE = [
    "builtin:demo",
    "s3://nobody-has-this-bucket/messages.jsonl",
    "hf://datasets/OpenAssistant/oasst1/ready.jsonl.gz",
    "owner/name",
    "/no/such/file",
    "judge prompt",
    "http://127.0.0.1:9/v1",
    "file:///dev/null",
    "s3://",
    "",
]


def make(root: Path, name: str, parents: dict[str, str | Parent]) -> str:
    """A finished stage with one record; returns its URI."""
    inputs = {role: one if isinstance(one, Parent) else parent(one) for role, one in parents.items()}
    stage = Stage(str(root), name, Settings(), inputs)
    stage.publish(Counts(kept={"records": 1}), {"records": [Prompt(id=stage.key, text=name)]})
    return stage.uri


@pytest.fixture
def chain(tmp_path: Path) -> dict[str, str]:
    """URIs of the stages of one round, Mt = m1 and M(t+1) = m2, by their names."""
    uris = {"seed_data": make(tmp_path, "seed_data", {"messages": Parent(uri="builtin:demo", digest="d0")})}
    uris["m1"] = make_model(tmp_path, "m1", {"seed_data": parent(uris["seed_data"])})
    uris["prompts"] = make(tmp_path, "prompts", {"writer": uris["m1"], "seed_data": uris["seed_data"]})
    uris["candidates"] = make(tmp_path, "sampling", {"model": uris["m1"], "prompts": uris["prompts"]})
    uris["judgements"] = make(tmp_path, "judging", {"model": uris["m1"], "candidates": uris["candidates"]})
    uris["pairs"] = make(tmp_path, "pairs", {"judgements": uris["judgements"]})
    uris["m2"] = make_model(tmp_path, "m2", {"model": parent(uris["m1"]), "pairs": parent(uris["pairs"])})
    return uris


def outline(ancestors: list[Ancestor]) -> list[str]:
    return [f"{'.' * one.depth}{one.role}{' (above)' if one.seen else ''}" for one in ancestors]


def test_the_chain_goes_from_the_weights_to_the_seed_data(chain: dict[str, str]) -> None:
    """Depth first; what m1 was made from stands where m1 stands first, and nowhere else."""
    assert outline(lineage(chain["m2"])) == [
        "model",
        ".model",
        "..seed_data",
        "...messages",
        "..weights",
        ".pairs",
        "..judgements",
        "...model (above)",
        "...candidates",
        "....model (above)",
        "....prompts",
        ".....writer (above)",
        ".....seed_data (above)",
        ".weights",
    ]


def test_every_stage_has_its_digest_uri_and_counts(chain: dict[str, str]) -> None:
    found = {one.uri: one for one in lineage(chain["m2"]) if one.stage}
    assert set(found) == set(chain.values())
    for uri, one in found.items():
        manifest = read_manifest(uri)
        assert (one.digest, one.stage, one.kept) == (manifest.digest, manifest.stage, manifest.counts.kept)
        assert not one.problem


@pytest.mark.parametrize("uri", STRANGE)
def test_what_lies_outside_has_a_uri_and_a_digest_and_is_not_opened(tmp_path: Path, uri: str) -> None:
    model = make_model(tmp_path, "m1", {"outside": Parent(uri=uri, digest="d9")})
    assert lineage(model)[1] == Ancestor(1, "outside", uri, "d9", None, False)


@pytest.mark.parametrize("store", ["s3://nobody-has-this-bucket", "gs://another-kind", "/no/such/folder"])
def test_a_stage_that_cannot_be_reached_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    gone = Parent(uri=f"{store}/pairs/0123456789abcdef", digest="d9")
    model = make_model(tmp_path, "m1", {"pairs": gone, "seed_data": Parent(uri="data", digest="d1")})
    found = lineage(model)
    assert outline(found) == ["model", ".pairs", ".seed_data", ".weights"]
    assert found[1].problem
    assert (found[1].uri, found[1].digest) == (gone.uri, "d9")


def test_a_stage_that_is_no_longer_what_the_model_was_made_from_says_so(chain: dict[str, str]) -> None:
    store = open_store(chain["pairs"])
    store.write(
        "manifest.json", read_manifest(chain["pairs"]).model_copy(update={"digest": "other"}).model_dump_json().encode()
    )
    open_store(chain["prompts"]).write("manifest.json", b"{}")
    problems = {one.role: one.problem for one in lineage(chain["m2"]) if one.problem}
    broken = f"{chain['prompts']}/manifest.json is no valid manifest: stage: is missing"
    assert problems == {"pairs": "is now other", "prompts": broken}
    assert lineage(chain["m2"], "registered")[0].problem.startswith("is now ")


def test_what_is_no_stage_has_no_lineage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished stage"):
        lineage(str(tmp_path))


def test_the_branches_of_a_tree() -> None:
    depths = [0, 1, 2, 3, 2, 1, 2]
    drawn = [f"{branch(depths, place)}{place}" for place in range(len(depths))]
    assert drawn == ["0", "├─ 1", "│  ├─ 2", "│  │  └─ 3", "│  └─ 4", "└─ 5", "   └─ 6"]
