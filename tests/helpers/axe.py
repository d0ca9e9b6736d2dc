"""axe-core in a page: what people with a keyboard, a screen reader or weak eyes would stumble over.

Its script comes inside a package for Playwright, which is not needed (`make setup` installs it without dependencies).
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from tests.helpers.chromium import Tab

PACKAGE = "axe_playwright_python"


def axe() -> Path | None:
    """The script; None where it is not installed."""
    spec = find_spec(PACKAGE)
    path = Path(spec.origin).with_name("axe.min.js") if spec and spec.origin else None
    return path if path and path.is_file() else None


def serious_faults(tab: Tab) -> list[str]:
    """The rules that the open page breaks seriously or critically, each with the elements."""
    script = axe()
    assert script is not None
    tab.evaluate(f"{script.read_text()}; true")
    told = tab.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false}).then(JSON.stringify)")
    results = json.loads(told)
    assert results["passes"], "axe looked at nothing"
    return [
        f"{one['id']} ({one['impact']}): {', '.join(str(node['target']) for node in one['nodes'][:5])}"
        for one in results["violations"]
        if one["impact"] in ("serious", "critical")
    ]
