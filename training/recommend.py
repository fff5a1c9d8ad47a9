"""Recommend to every user of a data set; the same program as `hf-bert4rec recommend-all`.

accelerate launch training/recommend.py outputs/ml-1m --output recommendations.parquet
"""

from hf_bert4rec.cli.main import console

if __name__ == "__main__":
    console("recommend-all")
