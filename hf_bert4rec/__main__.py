"""`python -m hf_bert4rec`: the program `hf-bert4rec`, also for `accelerate launch -m hf_bert4rec train RECIPE`."""

from .cli.main import console

if __name__ == "__main__":
    console()
