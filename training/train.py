"""Train BERT4Rec from a recipe and export a folder for the Hub; the same program as `hf-bert4rec train`.

python training/train.py ml-100k
accelerate launch training/train.py training/recipes/ml-1m.yaml
"""

from hf_bert4rec.cli.main import console

if __name__ == "__main__":
    console("train")
