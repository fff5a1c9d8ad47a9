"""Run every campaign, or those that are named, and write what they counted to tests/stress/results.json.

python -m tests.stress
python -m tests.stress kills tables
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from hf_bert4rec.environment import describe_hardware, environment
from hf_bert4rec.files import write_json
from tests.stress import archives, demo, disks, endurance, kills, models, tables
from tests.stress import request_fuzz as callers

REPORT = Path(__file__).resolve().with_name("results.json")
CAMPAIGNS: dict[str, Callable[[], dict[str, Any]]] = {
    "tables": tables.campaign,
    "archives": archives.campaign,
    "models": models.campaign,
    "callers": callers.campaign,
    "demo": demo.campaign,
    "kills": kills.campaign,
    "disks": disks.campaign,
    "endurance": endurance.campaign,
}


def main(names: list[str]) -> None:
    """Run the named campaigns, all where none is named; what was counted earlier stays for the others."""
    if strange := set(names) - set(CAMPAIGNS):
        raise ValueError(f"no campaign is called {', '.join(sorted(strange))}; there are {', '.join(CAMPAIGNS)}")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    disable_progress_bar()  # one a loaded model, thousands in all
    for name in names or CAMPAIGNS:
        began = time.monotonic()
        counted = {**CAMPAIGNS[name](), "seconds": round(time.monotonic() - began)}
        print(name, json.dumps(counted), flush=True)
        earlier = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.is_file() else {}
        write_json(REPORT, {**earlier, name: counted, "environment": environment(), "hardware": describe_hardware()})


if __name__ == "__main__":
    main(sys.argv[1:])
