"""`python -m components.serving.weights URI DIGEST LINK`: fetch a model to where a server in this pod reads it."""

from __future__ import annotations

import sys
from pathlib import Path

from components.core.model_files import model_folder, require_digest
from components.core.step import report_errors


def main() -> None:
    """Leaves the files in the cache below SRLM_HOME, which other servers may share, and a link to them.

    Files with another digest than the one that was asked for (the registry's, of a model that is deployed) are not
    served.
    """
    uri, digest, link = sys.argv[1:]
    with report_errors("weights"):
        require_digest(uri, digest)
        folder = model_folder(uri)
        Path(link).unlink(missing_ok=True)  # the pod may be started again
        Path(link).symlink_to(folder)
        print(folder, flush=True)


if __name__ == "__main__":
    main()
