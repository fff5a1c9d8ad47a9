"""From scores to ranks, metrics, and a report.

- `evaluate`: `evaluate_model`, the complete evaluation of a trained model; its settings are in `config`.
- `task`, `scoring`, `ranking`: what is evaluated on, one scorer's result, and the pass that ranks every target.
- `metrics`, `list_metrics`, `bootstrap`, `slices`, `sampled`: pure functions of ranks and lists.
- `baselines`: scorers to compare with.
- `report`, `report_text`, `plots`, `examples`: `evaluation.json` and its presentation.
- `ranking_metrics`: the metrics as a module for `evaluate.load`.
- `batch_recommend`, `shards`: recommendations for every user of a table.
"""
