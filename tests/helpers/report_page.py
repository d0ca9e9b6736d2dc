"""A run's report as a browser shows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.helpers.axe import axe, serious_faults
from tests.helpers.chromium import opened_tab

SECTIONS = ("Models side by side", "From prompts to pairs", "Versions")


def assert_it_reads_well(report: Path, shares: Iterable[float], folder: Path, sections: Iterable[str] = ()) -> None:
    """These shares stand in it in percent, and every section; nothing is asked of the network, and neither the browser
    nor axe-core, where that is installed, complains. `folder` is for the browser."""
    with opened_tab(folder) as tab:
        tab.open(report)
        told = tab.evaluate("document.body.innerText").replace("\u00a0", " ")
        for text in (*(f"{round(100 * share, 1):.1f} %" for share in shares), *SECTIONS, *sections):
            assert text in told, text
        assert not tab.complaints()
        assert not axe() or serious_faults(tab) == []
