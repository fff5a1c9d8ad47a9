"""`hf-bert4rec train`: train BERT4Rec from a recipe and export a folder for the Hub.

    hf-bert4rec train ml-100k
    hf-bert4rec train training/recipes/ml-100k.yaml --learning_rate 5e-4 --output_dir outputs/faster
    accelerate launch training/train.py ml-1m

A recipe is the name of one that ships with the package, or a YAML file. A broken run goes on with
`--resume_from_checkpoint last`. Training state lies in `checkpoints/` beside the exported folder.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from transformers import set_seed

from ..data.prepare import prepare
from ..files import TRAINING_FILE
from ..hub.card.curve import CURVE_FILE, draw_curve
from ..hub.card.render import render_card
from ..hub.export import check_replaceable, export
from ..training.arguments import parse
from ..training.fit import build_trainer, run
from ..training.hardware import disable_malloc_trim
from ..training.record import training_record
from .console import set_up_console

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate on the validation part, export."""
    argv = list(sys.argv[1:] if argv is None else argv)
    set_up_console()
    if disable_malloc_trim():
        logger.info("told the allocator to keep what a step frees for the next one")
    data_arguments, model_arguments, masking, arguments = parse(argv)
    folder = Path(arguments.output_dir)
    check_replaceable(folder)
    arguments.output_dir = str(folder.parent / "checkpoints" / folder.name)
    set_seed(arguments.seed)
    data = prepare(data_arguments)
    trainer = build_trainer(data, model_arguments, masking, arguments)
    run(trainer)
    model = trainer.whole_model().float()
    if trainer.is_world_process_zero():
        record = training_record(trainer, model, data, (data_arguments, model_arguments, masking), argv)
        files = {TRAINING_FILE: record, CURVE_FILE: draw_curve(record)}
        card = render_card(record, titles=any(data.tokenizer.items.get("title", [])))
        export(model, data.tokenizer, folder, card, files)
        logger.info("exported to %s", folder)
    trainer.end()
