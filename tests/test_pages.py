"""What the pages point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/*/README.md")]
CODE = re.compile(r"(?<!\[)`[^`\n]*`")  # a pattern in a table is no link
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]*)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_file_that_a_page_links_to_is_there_and_holds_the_test_that_it_names(page: Path) -> None:
    for text, target in LINK.findall(CODE.sub("", page.read_text())):
        if not target or ":" in target:  # a place in the page, or elsewhere
            continue
        path = page.parent / target
        assert path.exists(), target
        if text.startswith("test_"):
            assert f"def {text}(" in path.read_text(), text
