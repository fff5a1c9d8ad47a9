"""Print the oldest version that pyproject.toml allows of every dependency, as constraints for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [one for extra in project["optional-dependencies"].values() for one in extra]
for requirement in [*project["dependencies"], *extras]:
    if found := re.match(r"([A-Za-z0-9_.-]+)\s*>=\s*([\d.]+)", requirement):
        print(f"{found[1]}=={found[2]}")
