"""Ratings to `datasets` objects: releases and tables, histories, splits.

The names are imported when they are first used: training on encoded histories needs neither datasets nor Polars.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .histories import build_histories
    from .interactions import read_interactions
    from .leakage import LeakageError, check_leakage, target_hash
    from .movielens import load_movielens
    from .sequences import load_ml1m_sequences, read_sequences
    from .splits import global_temporal_split, last_n, leave_one_out

_MODULES = {
    "histories": ("build_histories",),
    "interactions": ("read_interactions",),
    "leakage": ("LeakageError", "check_leakage", "target_hash"),
    "movielens": ("load_movielens",),
    "sequences": ("load_ml1m_sequences", "read_sequences"),
    "splits": ("global_temporal_split", "last_n", "leave_one_out"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
