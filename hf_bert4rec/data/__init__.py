"""Ratings to `datasets` objects: releases and tables, histories, splits.

The names are imported when they are first used: training on encoded histories needs neither datasets nor Polars.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .histories import build_histories
    from .interactions import load_ml1m_sequences, read_interactions, read_sequences
    from .movielens import load_movielens
    from .splits import LeakageError, check_leakage, global_temporal_split, last_n, leave_one_out, target_hash

_MODULES = {
    "histories": ("build_histories",),
    "interactions": ("load_ml1m_sequences", "read_interactions", "read_sequences"),
    "movielens": ("load_movielens",),
    "splits": ("LeakageError", "check_leakage", "global_temporal_split", "last_n", "leave_one_out", "target_hash"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
