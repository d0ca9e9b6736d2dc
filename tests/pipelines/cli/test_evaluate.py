"""Reports of a comparison outlive the pod that made them."""

from __future__ import annotations

from pathlib import Path

from components.core.records import Check, Decision
from components.core.store import join, open_store
from components.registry.references import ModelReference
from pipelines.cli.evaluate import Comparison, keep_reports, write_reports
from tests.helpers.registered_models import make_model


def test_the_reports_are_in_the_store(tmp_path: Path) -> None:
    models = [ModelReference(name, make_model(tmp_path / "store", name)) for name in ("new", "old")]
    check = Check(
        id="regression/x",
        rule="regression",
        metric="x",
        outcome="fail",
        value=0.1,
        low=0.0,
        high=0.2,
        items=9,
        reason="it fell",
    )
    decision = Decision(id="decision", decision="stop", reasons=["it fell"], champion=None)
    write_reports(Comparison(models[0], models[1], decision, [check]), {}, tmp_path / "reports")
    kept = keep_reports(str(tmp_path / "store"), "nightly-1", tmp_path / "reports")
    assert kept == join(str(tmp_path / "store"), "runs", "nightly-1", "reports")
    for name in ("report.md", "report.json", "junit.xml"):
        assert open_store(kept).read(name) == (tmp_path / "reports" / name).read_bytes()
