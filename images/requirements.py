"""The project's dependencies as pip's requirements, without the project: a layer of them stays when only code changes.

`requirements.py` prints those of every step, `requirements.py EXTRA` those that an extra adds.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
print("\n".join(extras[sys.argv[1]] if len(sys.argv) > 1 else project["dependencies"]))
