"""The metrics of `hf-bert4rec evaluate` as a module of the `evaluate` library: `evaluate.load(PATH)`, offline."""

from pathlib import Path

PATH = str(Path(__file__).parent)
