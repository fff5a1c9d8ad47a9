"""Print the oldest version that pyproject.toml allows of every dependency, as constraints for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
for requirement in [*project["dependencies"], *extras]:
    if match := re.match(r"([A-Za-z0-9_.-]+)\s*>=\s*([\d.]+)", requirement):
        print(f"{match[1]}=={match[2]}")
