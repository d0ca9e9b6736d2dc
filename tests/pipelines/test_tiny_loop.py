"""The loop from prompts to the report through what people have: a gateway with keys, limits, failures and filters, and
stores that are not AWS's. Each run trains a tiny model; what it is asked, the gateway answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.core.errors import UserError
from components.core.records import Annotation, Candidate, Comparison, Judgement, Record
from components.core.stage import read_records
from pipelines.local.services import BUCKET as OURS
from pipelines.local.services import services
from tests.helpers import scripted_s3
from tests.helpers.chromium import chromium
from tests.helpers.gateway import ANNOTATOR, JUDGE, Gateway
from tests.helpers.report_page import assert_it_reads_well
from tests.helpers.scripted_endpoint import served
from tests.helpers.scripted_s3 import BUCKET, KEY, Behaviour, ceph_like, garage_like, minio_like
from tests.helpers.tiny_loop import KEYS, PROMPTS, RUN, environment, gateway, run_tiny_loop, tiny_options
from tests.pipelines.conftest import TinyRun

pytestmark = [pytest.mark.slow, pytest.mark.extended]
ASKED_OF_EACH = {"answers": 6, "outputs": 12}  # held-out prompts and instructions
CHECKSUMS = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}


@dataclass
class Run:
    """A run that came to its end, and the gateway that it asked."""

    summary: dict[str, Any]
    gateway: Gateway

    def counts(self, stage: str) -> tuple[dict[str, int], dict[str, int]]:
        """Kept and dropped."""
        counts = next(one["counts"] for one in self.summary["stages"] if one["name"] == stage)
        return counts["kept"], counts["dropped"]

    def content(self) -> dict[str, tuple[str, str, Any]]:
        """What was made, by stage: the same wherever it lies."""
        return {one["name"]: (one["key"], one["digest"], one["counts"]) for one in self.summary["stages"]}


@pytest.fixture
def through_the_gateway(tiny_run: TinyRun) -> Run:
    return Run(tiny_run.summary, tiny_run.gateway)


def total(counts: dict[str, int], begin: str = "") -> int:
    return sum(number for reason, number in counts.items() if reason.startswith(begin))


def test_the_gateway_was_one_as_people_have_them(through_the_gateway: Run) -> None:
    """Its limit was met and outlasted, it failed, it filtered; every request had the key of the model that it named."""
    asked = through_the_gateway.gateway
    assert asked.refusals["limit"] > 0 and asked.refusals["failure"] > 20
    assert asked.refusals["key"] == 0
    sent = {body["model"]: asked.headers[n]["Authorization"] for n, body in enumerate(asked.bodies)}
    policy, judge, annotator = (f"Bearer {key}" for key in KEYS.values())
    assert (sent.pop(JUDGE), sent.pop(ANNOTATOR)) == (judge, annotator)
    assert set(sent.values()) == {policy} and len(sent) == 4  # M0, SFT, M1, M2 by their digests
    assert all("Authorization" in headers for _, _, headers in asked.asked)


def test_what_every_stage_keeps_and_drops_adds_up_to_what_was_asked(through_the_gateway: Run) -> None:
    """From stage to stage, and each thing that is missing has a reason of its own."""
    made = through_the_gateway
    prompts, not_prompts = made.counts("m1/prompts")
    assert prompts["prompts"] == PROMPTS
    assert PROMPTS + total(not_prompts) == len(made.gateway.answered["task"])
    whole, not_whole = made.counts("m1/sampling")
    assert whole["candidates"] + total(not_whole) == 4 * PROMPTS
    judged, not_judged = made.counts("m1/judging")
    assert judged["judgements"] + total(not_judged, "judgement unparsed") == 2 * whole["candidates"]
    assert total(not_judged, "candidate not judged") == total(not_whole)
    pairs, not_paired = made.counts("m1/pairs")
    assert pairs["pairs"] + total(not_paired, "prompt: ") == PROMPTS
    assert not_paired["candidate: cut off or unanswered"] == total(not_whole)
    trained, not_trained = made.counts("m2/dpo")
    assert total(trained) + total(not_trained) == pairs["pairs"]
    # Which questions meet which fate is drawn by the model's digest: one kind of six may come to none.
    wanted = {"content_filter", "prompt too long", "abort", "candidate cut off by length"}
    wanted |= {"judgement unparsed: judge content_filter", "judgement unparsed: judge prompt too long"}
    assert len(wanted & {reason for counts in (not_whole, not_judged) for reason in counts}) >= 4


@pytest.mark.parametrize("name", ["m0", "sft", "m1", "m2"])
def test_so_does_what_is_measured(through_the_gateway: Run, name: str) -> None:
    made = through_the_gateway
    replies = made.counts("seed-data")[0]["eval replies"]
    kept, dropped = made.counts(f"{name}/evaluation")
    unparsed = total(dropped, "judgement unparsed")
    assert kept["judgements"] + unparsed == replies
    assert kept["answers"] + kept["outputs"] + total(dropped) - unparsed == total(ASKED_OF_EACH)
    kept, dropped = made.counts(f"{name}/annotation")
    assert kept["annotations"] + total(dropped, "annotation: ") == ASKED_OF_EACH["outputs"]
    against = ASKED_OF_EACH["answers"] if name != "m0" else 0  # M0 has no model before it
    assert kept.get("head to head", 0) + total(dropped, "head to head: ") == against


@pytest.mark.skipif(not chromium(), reason="no Chromium is installed here")
def test_the_report_of_a_run_of_the_demo_s_recipe_reads_well(tiny_run: TinyRun, tmp_path: Path) -> None:
    """The same parts as the demo's, in another model; each figure of each model is the summary's."""
    figures = [model["metrics"] for model in tiny_run.summary["models"]]
    shares = [one[name] for one in figures for name in ("parse_rate", "win_rate") if name in one]
    assert len(shares) >= 7  # M0, SFT, M1, M2; without an annotation that could be read there is no win rate
    assert_it_reads_well(tiny_run.folder / "home/runs" / RUN / "report.html", shares, tmp_path)


def test_what_was_asked_and_what_lies_in_the_store_are_the_same_number(through_the_gateway: Run) -> None:
    """Every question that came to an end is a record, and no record was made of anything else."""
    made = through_the_gateway
    uris = {one["name"]: one["uri"] for one in made.summary["stages"]}

    def records(stage: str, kind: str, record: type[Record]) -> list[Any]:
        return [
            one
            for name, uri in uris.items()
            if name.rpartition("/")[2] == stage
            for one in read_records(uri, kind, record)
        ]

    annotations = records("annotation", "annotations", Annotation)
    stored = {
        "text": sum(len(records("evaluation", kind, Candidate)) for kind in ASKED_OF_EACH) + 4 * PROMPTS,
        "judgement": sum(len(records(stage, "judgements", Judgement)) for stage in ("evaluation", "judging")),
        "preference": sum(one.form in ("weighted", "plain") for one in annotations),
        "comparison": len(records("annotation", "comparisons", Comparison)),
    }
    assert {kind: len(asked) for kind, asked in made.gateway.answered.items() if kind != "task"} == stored


def test_the_summary_says_the_same(through_the_gateway: Run) -> None:
    made = through_the_gateway
    (round_1,) = made.summary["rounds"]
    kept, dropped = made.counts("m1/judging")
    parsed = kept["judgements"] / (kept["judgements"] + total(dropped, "judgement unparsed"))
    assert round_1["metrics"]["round_parse_rate"] == pytest.approx(parsed)
    assert round_1["metrics"]["pairs"] == made.counts("m1/pairs")[0]["pairs"]
    assert [model["name"] for model in made.summary["models"]] == ["m0", "sft", "m1", "m2"]
    for model in made.summary["models"]:
        kept, dropped = made.counts(f"{model['name']}/evaluation")
        unparsed = total(dropped, "judgement unparsed")
        assert model["metrics"]["parse_rate"] == pytest.approx(kept["judgements"] / (kept["judgements"] + unparsed))
        annotations = made.counts(f"{model['name']}/annotation")[0]["annotations"]
        assert model["metrics"]["instructions_judged"] == annotations


def test_the_ledger_tells_where_the_time_went(through_the_gateway: Run) -> None:
    """At least 95 % of it; the two trainings, every answer with its tokens, and no GPU."""
    made = through_the_gateway
    ledger = made.summary["ledger"]
    assert ledger["attributed"] >= 0.95
    assert ledger["total"]["wall"] == pytest.approx(ledger["seconds"], rel=0.02)  # one step after the other
    assert ledger["done"]["training"]["amounts"]["trained_tokens"] > 1000
    total = ledger["total"]
    ended = sum(map(len, made.gateway.answered.values()))  # those that were filtered or too long among them
    assert 0.8 * ended < total["amounts"]["answers"] <= ended
    assert total["amounts"]["completion_tokens"] == 2 * total["amounts"]["answers"]  # as the gateway counts them
    assert total["amounts"]["retries"] > 20 and total["seconds"]["waiting"] > 0
    assert (total["gpu_seconds"], total["mfu"], ledger["saved"]) == (0, None, None)


def test_the_last_step_left_a_report_of_it(through_the_gateway: Run, tiny_run: TinyRun) -> None:
    """The same page in the store, in the folder of the run and in the KFP UI; with the summary's figures."""
    folder = tiny_run.folder
    page = (folder / "store" / "runs" / RUN / "report.html").read_text()
    assert (folder / "home" / "runs" / RUN / "report.html").read_text() == page
    assert page in [path.read_text() for path in (folder / "home" / "runs" / RUN / "kfp").rglob("finish/page")]
    for model in through_the_gateway.summary["models"]:
        assert f"{100 * model['metrics']['parse_rate']:.1f}\u00a0%" in page
    assert page.count("<h2") == 12


@contextmanager
def scripted(does: Behaviour, home: Path, variables: dict[str, str]) -> Iterator[str]:
    """The URI of a store that behaves so, which the environment names."""
    with scripted_s3.served(does) as endpoint:
        access = {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "secret"}
        with environment(access | variables | {"SRLM_HOME": str(home)}):
            yield f"s3://{BUCKET}/runs"


@contextmanager
def seaweedfs(home: Path) -> Iterator[str]:
    """A real one, as `srlm run` starts it."""
    with ExitStack() as stack:
        stack.enter_context(environment({"SRLM_HOME": str(home)}))
        local = stack.enter_context(services())
        stack.enter_context(environment(local.environment() | {"SRLM_HOME": str(home)}))
        yield f"s3://{OURS}/artifacts"


STORES: dict[str, Callable[[Path], Any]] = {
    "MinIO-like": lambda home: scripted(minio_like(), home, {}),
    "Ceph-like": lambda home: scripted(ceph_like(), home, CHECKSUMS),
    "SeaweedFS": seaweedfs,
}


# What the scripted ones do otherwise is tested call by call (test_store_check.py), and on SeaweedFS test_loop.py runs.
@pytest.mark.nightly
@pytest.mark.parametrize("name", STORES)
def test_every_store_that_is_accepted_comes_to_the_same(
    through_the_gateway: Run, tiny_run: TinyRun, name: str, tmp_path: Path, mlflow_server: str
) -> None:
    """The same digests of all artifacts, from the seed data to M2, its figures and its verdict.

    The registry knows no model of this name then, as each is held against the champion there.
    """
    MlflowClient(mlflow_server).delete_registered_model("tiny")
    with STORES[name](tmp_path / "home") as store:
        asked = gateway(store)
        with served(asked) as url:
            made = Run(run_tiny_loop(tiny_run.folder, tiny_options(store, mlflow_server, url)), asked)
    assert made.content() == through_the_gateway.content()


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (garage_like(), "two runs that meet.*Use a store that has conditional puts.*or a folder"),
        (Behaviour(conditional="not implemented"), "If-None-Match.*Use a store that has conditional puts"),
        (ceph_like(), "does not take checksums.*AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    ],
    ids=["Garage-like", "Ceph before 20", "Ceph without the setting"],
)
def test_every_other_store_is_refused_before_any_stage(
    does: Behaviour, says: str, tmp_path: Path, mlflow_server: str
) -> None:
    asked = gateway(f"s3://{BUCKET}/runs")
    with scripted(does, tmp_path / "home", {}) as store, served(asked) as url, pytest.raises(UserError, match=says):
        run_tiny_loop(tmp_path, tiny_options(store, mlflow_server, url))
    assert not does.objects
    # whether it answers at all: that is known before the store's server is started
    assert all(body["messages"][-1]["content"] == "Hello" for body in asked.bodies)
    events = (tmp_path / "home/runs" / RUN / "events.jsonl").read_text().splitlines()
    assert not [event for event in map(json.loads, events) if event["kind"] == "stage_start"]
