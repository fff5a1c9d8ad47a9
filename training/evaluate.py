"""Compare a trained model with baselines; the same program as `hf-bert4rec evaluate`.

python training/evaluate.py outputs/ml-100k
"""

from hf_bert4rec.cli.main import console

if __name__ == "__main__":
    console("evaluate")
