"""Scores to numbers that can be trusted.

`task` says what is asked, `ranking` ranks it in one pass, `metrics` and `list_metrics` are pure functions of ranks and
lists, `baselines` are scorers to compare with, `assessment` puts a scorer through all of it, `bootstrap` gives the
intervals, and `report`, `table` and `plots` show one evaluation whole.
"""
