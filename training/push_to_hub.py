"""Publish a trained model on the Hub; the same program as `hf-bert4rec push`.

python training/push_to_hub.py outputs/ml-100k someone/bert4rec-ml-100k --dry-run
"""

from hf_bert4rec.cli.main import console

if __name__ == "__main__":
    console("push")
