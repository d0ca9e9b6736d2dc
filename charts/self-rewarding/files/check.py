"""Does the store keep and guard objects, and does the registry answer? A problem makes the exit code 1."""

from __future__ import annotations

import os
import urllib.request
import uuid

from components.core.store import open_store


def check_store(uri: str) -> str:
    """Put, get, and the conditional put by which runs publish; what was put is removed."""
    store, name = open_store(uri), f"doctor/{uuid.uuid4().hex}"
    try:
        first, second = store.create(name, b"first"), store.create(name, b"second")
        if (first, second, store.read(name)) != (True, False, b"first"):
            return f"{uri}: a conditional put does not hold"
    finally:
        store.delete(name)
    return ""


def check_registry(uri: str) -> str:
    """The health page, and one question to the API: it refuses host names that it does not know."""
    for page in ("health", "api/2.0/mlflow/registered-models/search?max_results=1"):
        urllib.request.urlopen(f"{uri.rstrip('/')}/{page}", timeout=30).read()  # noqa: S310
    return ""


problems = []
for variable, check in {"SRLM_STORE": check_store, "SRLM_TRACKING_URI": check_registry}.items():
    uri = os.environ.get(variable, "")
    try:
        problem = check(uri) if uri else ""
    except Exception as error:
        problem = f"{uri}: {error}"
    print(f"{variable}: {problem or uri or 'not set'}")
    problems += [problem] if problem else []
raise SystemExit(1 if problems else 0)
