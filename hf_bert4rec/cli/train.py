"""`hf-bert4rec train`: train BERT4Rec from a recipe and export a folder for the Hub.

    hf-bert4rec train ml-100k
    hf-bert4rec train recipe.yaml --learning_rate 5e-4 --output_dir outputs/faster
    accelerate launch -m hf_bert4rec train ml-1m

A recipe is the name of an installed one, or a YAML file; options override its keys. Optional numbers can be unset with
`none`: `--early_stopping_patience none`. An interrupted run continues with `--resume_from_checkpoint last`.
Checkpoints are written to `checkpoints/`, next to the exported folder.
"""

from collections.abc import Sequence

from ..training.arguments import parse
from ..training.fit import train


def main(argv: Sequence[str]) -> None:
    train(parse(argv, __doc__), argv)
