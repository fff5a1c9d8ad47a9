"""`hf-bert4rec prepare`: turn a table of any size into a folder of histories, from which training starts at once.

    hf-bert4rec prepare orders.parquet --output_dir prepared --items articles.csv --min_interactions 3
    hf-bert4rec train ml-1m --ratings prepared --min_interactions 3

INTERACTIONS is what `--ratings` of `train` takes: a file, a folder, a glob or a data set on the Hub. It is read in
chunks; memory grows with users and items, not with rows. `train` and `evaluate` memory-map the folder and need the
same options; the recipe `auto` takes `--repeats` and `--min_interactions` from it. An earlier preparation is replaced
when the new one is complete.
"""

import logging
from collections.abc import Sequence

from ..data.arguments import DataArguments
from ..data.folder.prepare_folder import prepare_folder
from ..training.arguments import OptionParser

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    parser = OptionParser((DataArguments,), "hf-bert4rec prepare", __doc__)
    parser.add_argument("interactions", help="a table: a file, a folder, a glob, or a data set on the Hub")
    parser.add_argument("--output_dir", "--output-dir", default="prepared", help="the folder to write")
    words = parser.parse_known_args(argv)[0]
    if words.ratings is not None:
        parser.error(f"--ratings is {words.ratings}, and the table is {words.interactions}: leave out --ratings")
    data, arguments = parser.parse_dataclasses([*argv, "--ratings", words.interactions])
    manifest = prepare_folder(data, arguments.output_dir)
    counts = (f"{manifest[name]:,}" for name in ("interactions", "users", "items"))
    logger.info("%s interactions of %s users with %s items are in %s", *counts, arguments.output_dir)
