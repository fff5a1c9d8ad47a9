"""Training, ranking, serving and a recipe on a GPU, within a number of seconds.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --encode      # on a machine with the data: writes the histories of MovieLens 1M
    python -m benchmarks.gpu --tiny        # tries every row on a CPU, at sizes too small for meaningful figures

Every row is measured in a process with a time limit, and written when it is done. A row that fails is recorded with its
error. A second call measures the rows that failed or are left; `--fresh` measures all again.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.data import EncodedSplits
from benchmarks.gpu.process import RowFailed, Worker
from benchmarks.gpu.rows import Row, all_rows
from benchmarks.gpu.sizes import FULL, TINY, Sizes
from benchmarks.measure import RESULTS, ROOT, row
from hf_bert4rec.environment import describe_hardware, environment
from hf_bert4rec.files import write_json

DATA = ROOT / "outputs" / "gpu" / "ml-1m.npz"
RESULT_FILE = "gpu.json"
SECONDS = 460  # with the start of Python less than eight minutes
MIN_SPEED_UP = 5  # target over BertForMaskedLM
NOT_MEASURED, NO_TIME = "not measured", "not measured: the time was up"


def main(argv: Sequence[str] | None = None) -> None:
    begin = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for all rows")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the result file")
    parser.add_argument("--data", type=Path, default=DATA, help="encoded histories of MovieLens 1M")
    parser.add_argument("--only", nargs="+", default=[""], help="measure only rows whose name has one of these texts")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on any machine")
    parser.add_argument("--fresh", action="store_true", help="measure rows again that have a result")
    parser.add_argument("--encode", metavar="DATASET", nargs="?", const="ml-1m.txt", help="write `--data`, then end")
    arguments = parser.parse_args(argv)
    if arguments.encode:
        encode(arguments.encode, arguments.data)
        return
    if not arguments.tiny and not torch.cuda.is_available():
        parser.error("there is no GPU; --tiny tries every row on a CPU")
    os.environ["HF_HUB_OFFLINE"] = "1"  # of the processes that measure: nothing is downloaded
    sizes = TINY if arguments.tiny else FULL
    rows = list(all_rows(sizes, arguments.data))
    path = arguments.results / RESULT_FILE
    record = new_record(arguments.tiny) if arguments.fresh else resumed(path, new_record(arguments.tiny))
    chosen = [each for each in rows if any(text in title(each) for text in arguments.only)]
    measure_all(chosen, sizes, record, path, begin + arguments.seconds)
    write(path, record, rows)
    print_table(record, rows)


def encode(dataset: str, path: Path) -> None:
    """Write the leave-one-out split of a data set as arrays."""
    from hf_bert4rec.data.arguments import DataArguments
    from hf_bert4rec.data.prepare import prepare  # needs Polars and datasets

    EncodedSplits.of(prepare(DataArguments(dataset=dataset))).save(path)
    print(f"wrote {path}: {path.stat().st_size / 1e6:.1f} MB")


def new_record(tiny: bool) -> dict[str, Any]:
    return {
        "benchmark": "gpu",
        "machine": describe_hardware(),
        "environment": environment(),
        "settings": {"tiny": tiny},
        "measurements": {},
        "failures": {},
    }


def resumed(path: Path, new: dict[str, Any]) -> dict[str, Any]:
    """`new` with the measurements of a file of the same machine, versions and settings."""
    if not path.is_file():
        return new
    earlier = json.loads(path.read_text(encoding="utf-8"))
    versions = earlier["environment"]["versions"], new["environment"]["versions"]
    same = versions[0] == versions[1] and all(earlier[name] == new[name] for name in ("machine", "settings"))
    return {**new, "measurements": earlier["measurements"]} if same else new


def measure_all(rows: Iterable[Row], sizes: Sizes, record: dict[str, Any], path: Path, deadline: float) -> None:
    """Measure the rows that have no result, until the deadline; write the record after every row."""
    worker = Worker()
    try:
        for each in rows:
            name, left = title(each), deadline - time.monotonic()
            if name in record["measurements"]:
                continue
            if left < each.needed:
                record["failures"][name] = NO_TIME
                continue
            start = time.monotonic()
            try:
                options = {"sizes": sizes, "name": name, **each.options}
                result = worker.run(each.measure, options, min(each.seconds * sizes.patience, left))
            except RowFailed as error:
                record["failures"][name] = str(error)
                print(error.log, end="", file=sys.stderr)  # not in the record: it has paths of this machine
            else:
                record["measurements"][name] = {**result, "seconds": round(time.monotonic() - start, 2)}
            outcome = record["failures"].get(name, "done")
            print(f"{name}: {outcome} ({time.monotonic() - start:.1f} s)", file=sys.stderr, flush=True)
            write_json(path, record)
    finally:
        worker.close()


def title(each: Row) -> str:
    """The name of a row in the record."""
    return f"{each.part}: {each.name}" if each.part != each.name else each.name


def write(path: Path, record: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write the record with the rows of the table: one for every value, and one for every missing row."""
    measured = [line for each in rows for line in record["measurements"].get(title(each), {}).get("rows", [])]
    record["rows"] = [*measured, *speed_ups(record["measurements"])]
    record |= {"missing": missing(record, rows), "load_before": 0.0, "peers": {}}
    write_json(path, record)


def speed_ups(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """Throughput of masked models, compiled ones too, over that of `BertForMaskedLM` of the same size."""
    medians = {line["name"]: line["median"] for each in measurements.values() for line in each["rows"]}
    rows = []
    for name, value in medians.items():
        if "BertForMaskedLM" in name and name.endswith("throughput"):
            masked = name.replace("BertForMaskedLM", "masked")
            for ours in (masked, masked.replace("training", "compiled", 1)):
                if ours in medians:
                    label = ours.replace("throughput", "speed-up over BertForMaskedLM")
                    rows.append(row(label, "×", [medians[ours] / value], at_least=MIN_SPEED_UP))
    return rows


def missing(record: dict[str, Any], rows: Sequence[Row]) -> dict[str, str]:
    """The reason for every row without a result; one entry for a part of which all rows have the same reason."""
    reasons: dict[str, dict[str, str]] = {}
    for each in rows:
        if title(each) not in record["measurements"]:
            reasons.setdefault(each.part, {})[title(each)] = record["failures"].get(title(each), NOT_MEASURED)
    entries: dict[str, str] = {}
    for part, by_name in reasons.items():
        complete = len(by_name) == sum(each.part == part for each in rows)
        same = len(set(by_name.values())) == 1
        entries |= {f"{part} (all rows)": next(iter(by_name.values()))} if complete and same else by_name
    return entries


def print_table(record: dict[str, Any], rows: Sequence[Row]) -> None:
    """Print every value, and how many rows are missing."""
    for line in record["rows"]:
        print(f"{line['name']:75} {line['median']:14,.4g} {line['unit']}")
    done = sum(title(each) in record["measurements"] for each in rows)
    print(f"{done} of {len(rows)} rows on {record['machine']}; missing: {json.dumps(record['missing'], indent=1)}")


if __name__ == "__main__":
    main()
