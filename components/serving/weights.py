"""`python -m components.serving.weights URI`: fetch a model's files to where a server in this pod reads them."""

from __future__ import annotations

import sys

from components.core.model_files import model_folder
from components.core.step import report_errors


def main() -> None:
    """Leaves the files in the cache below SRLM_HOME; a server that shares the cache finds them there."""
    with report_errors("weights"):
        print(model_folder(sys.argv[1]), flush=True)


if __name__ == "__main__":
    main()
