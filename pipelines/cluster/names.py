"""What a run may be called on a cluster."""

from __future__ import annotations

import re

from components.core.errors import UserError

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_label_value(text: str) -> bool:
    """Whether a label may hold it; the API refuses a selector with anything else (HTTP 400)."""
    return bool(_LABEL_VALUE.fullmatch(text))


def check_run_name(run: str) -> None:
    """Raises UserError for a name that no Job, Deployment or Service can have; their pods carry it as a label, too."""
    if not _DNS_LABEL.fullmatch(run):
        raise UserError(
            f"a run on a cluster cannot be named {run!r}",
            "Give --run small letters, digits and -, 63 at most.",
        )
