"""docs/settings.md is what the recipe says now, and leaves nothing out."""

from __future__ import annotations

import re

from pipelines.recipe import Recipe
from pipelines.settings_reference import page
from tests.helpers.paths import ROOT
from tests.test_settings_named import sections_of


def test_the_page_is_up_to_date() -> None:
    """Else: python -m pipelines.settings_reference > docs/settings.md"""
    assert (ROOT / "docs/settings.md").read_text() == page()


def test_every_setting_has_a_line_with_its_meaning() -> None:
    """Of each class of settings once; what is nested in several places is pointed to."""
    classes, waiting = set(), [Recipe]
    while waiting:
        one = waiting.pop()
        if one not in classes:
            classes.add(one)
            waiting += sections_of(one).values()
    rows = re.findall(r"^\| `([a-z_0-9]+)` \|.*\| (.*) \|$", page(), re.MULTILINE)
    assert len(rows) == sum(len(one.model_fields) for one in classes)
    assert not [name for name, meaning in rows if not meaning.strip()]


def test_every_link_within_the_page_leads_somewhere() -> None:
    headings = {line.lstrip("# ").replace(".", "") for line in page().splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([^)]+)\)", page())) <= headings


def test_defaults_and_limits_are_told() -> None:
    """Derived by hand from the classes: K is 3 and at least 1, the model's base has no default."""
    assert "| `samples` | whole number, from 1 | `3` | K, judgements of each candidate |" in page()
    assert "| `base` | text | **required** |" in page()
    assert "| `turns` | `first` or `all` | `first` |" in page()
