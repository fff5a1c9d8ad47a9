# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-bert4rec[train]"]
# ///
"""Train on a table of the Hub and publish the model, as a job on Hugging Face's machines.

hf jobs uv run --flavor cpu-upgrade --secrets HF_TOKEN training/job.py someone/purchases someone/bert4rec-purchases

Arguments: the data set with the table, the model to publish, and any options of `hf-bert4rec train`.
"""

import sys

from hf_bert4rec.cli.main import main

if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    table, repo_id, *options = sys.argv[1:]
    folder = "outputs/model"
    train = ["train", "auto", "--ratings", table, "--output_dir", folder, *options]
    sys.exit(main(train) or main(["push", folder, repo_id]))
