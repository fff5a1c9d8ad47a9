"""Run all campaigns, or the named ones, and write their counts to tests/stress/results.json.

python -m tests.stress
python -m tests.stress kills tables
"""

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
from tests.stress import archives, disks, endurance, folders, kills, models, request_fuzz, tables

REPORT = Path(__file__).resolve().with_name("results.json")
CAMPAIGNS: dict[str, Callable[[], dict[str, Any]]] = {
    "tables": tables.campaign,
    "archives": archives.campaign,
    "models": models.campaign,
    "folders": folders.campaign,
    "request_fuzz": request_fuzz.campaign,
    "kills": kills.campaign,
    "disks": disks.campaign,
    "endurance": endurance.campaign,
}


def main(names: list[str]) -> None:
    """Run the named campaigns, or all; the counts of the others are unchanged.

    Raises:
        ValueError: There is no campaign of that name.
    """
    if unknown := set(names) - set(CAMPAIGNS):
        raise ValueError(f"unknown campaigns {', '.join(sorted(unknown))}; choose from {', '.join(CAMPAIGNS)}")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    disable_progress_bar()  # there would be one per loaded model
    for name in names or CAMPAIGNS:
        start = time.monotonic()
        counts = {**CAMPAIGNS[name](), "seconds": round(time.monotonic() - start)}
        print(name, json.dumps(counts), flush=True)
        earlier = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.is_file() else {}
        write_json(REPORT, {**earlier, name: counts, "environment": environment(), "hardware": describe_hardware()})


if __name__ == "__main__":
    main(sys.argv[1:])
