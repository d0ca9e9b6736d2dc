"""The page on which a person labels items: one file, with the one script that it needs, and nothing else can run on it.

Every text of a model is escaped by the template. The report has no script at all; this page is kept apart from it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from components.core.hashing import content_hash
from components.core.page import PAGE_STYLE
from components.review.items import Item
from components.review.labels import FORMAT

HERE = Path(__file__).parent
NAMES = {"order": ("First answer", "Second answer"), "score": ("Answer",)}
CHOICES = [("first", "the first", "1"), ("second", "the second", "2"), ("tie", "neither: a tie", "0")]


def render(run: str, model: str, items: Sequence[Item], scale: Sequence[float]) -> str:
    """The page; `scale` are the scores that can be given, at most 11."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((HERE / "review.html.jinja").read_text())
    script, style = (HERE / "review.js").read_text(), PAGE_STYLE + (HERE / "review.css").read_text()
    scores = [(f"{point:g}", f"{point:g}", f"{point:g}"[:1] if point in range(10) else "") for point in scale]
    return template.render(
        run=run,
        model=model,
        items=items,
        format=FORMAT,
        digest=content_hash([item.id for item in items])[:12],
        names=NAMES,
        choices={"order": CHOICES, "score": scores},
        told=told,
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


def told(item: Item) -> str:
    """What the rater said, in words."""
    if item.told is None:
        return "nothing that could be read"
    if item.kind == "score":
        return f"mean score {item.told:.2f}"
    return {"first": "the first is better", "second": "the second is better"}.get(str(item.told), "a tie")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
