"""What steps leave for Kubeflow's UI."""

from __future__ import annotations

from pathlib import Path

from components.core.page import Table, write_page


def test_a_page_escapes_what_it_shows(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    write_page(str(tmp_path / "page"), "<script>", [hostile], Table(hostile, (hostile,), [(hostile,)], hostile))
    assert "<script>" not in (tmp_path / "page").read_text()
    assert (tmp_path / "page").read_text().count("&lt;script&gt;alert(1)") == 5


def test_a_page_fits_the_frame_that_kubeflow_shows_it_in(tmp_path: Path) -> None:
    """Some 530 pixels: lines wrap, words of a table stay whole, and a table that is wider scrolls by itself."""
    name = "x" * 200
    write_page(str(tmp_path / "page.html"), name, [name], Table(name, ("model", "length"), [(name, "120")]))
    text = (tmp_path / "page.html").read_text()
    assert text.count("<table>") == text.count('<div class="wide"><table>') == 1
    assert ".wide { overflow-x: auto" in text and "overflow-wrap: anywhere" in text
    assert "nowrap" not in text and "width:" not in text
