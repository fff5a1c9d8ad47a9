"""Ratings to `datasets` objects: releases and tables, histories, splits."""

from .histories import build_histories
from .interactions import load_ml1m_sequences, read_interactions, read_sequences
from .movielens import load_movielens
from .splits import LeakageError, check_leakage, global_temporal_split, last_n, leave_one_out, target_hash
