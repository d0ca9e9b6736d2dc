"""Write a registry and the digests of the images that it took into the chart's values: release.py REGISTRY FOLDER.

The folder holds a file for each image, `worker` for example, with its digest.
"""

import re
import sys
from pathlib import Path

VALUES = Path(__file__).parents[1] / "charts" / "self-rewarding" / "values.yaml"


def released(values: str, registry: str, digests: dict[str, str]) -> str:
    """The chart's values, comments and all, with registry and digests. Raises SystemExit for what is none."""
    for name, digest in digests.items():
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            sys.exit(f"{name}: {digest!r} is no digest")
        values, found = re.subn(rf"^(    {name}: )\"\"", rf'\g<1>"{digest}"', values, flags=re.MULTILINE)
        if found != 1:
            sys.exit(f"images.digests.{name} is not in the chart's values")
    return re.sub(r'^(  registry: )""', rf'\g<1>"{registry}"', values, count=1, flags=re.MULTILINE)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    named = {file.name: file.read_text().strip() for file in sorted(folder.iterdir())}
    VALUES.write_text(released(VALUES.read_text(), sys.argv[1], named))
