"""Where the checkout lies, and what may lie beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"  # OpenAssistant's files, which are not part of the repository
