"""From scores to ranks, metrics, and a report."""
