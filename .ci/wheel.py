"""Train a small model, export it and render its card with an installed package, without its command line."""

import sys
from pathlib import Path

import hf_bert4rec
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, MovieRecommendationPipeline
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.windows import TrainingWindows
from hf_bert4rec.hub.card import render_card
from hf_bert4rec.hub.export import export
from hf_bert4rec.hub.folder import load_pipeline
from hf_bert4rec.training.arguments import MaskingArguments, ModelArguments
from hf_bert4rec.training.record import build_record
from hf_bert4rec.training.trainer import Bert4RecTrainer, Bert4RecTrainingArguments

if not Path(hf_bert4rec.__file__).is_relative_to(sys.prefix):
    sys.exit(f"{hf_bert4rec.__file__} is not in the environment {sys.prefix}")

WINDOW = 20
options = DataArguments(dataset="ml-100k")
data = prepare(options)
config = Bert4RecConfig(vocab_size=len(data.tokenizer), hidden_size=32, max_position_embeddings=WINDOW)
trainer = Bert4RecTrainer(
    model=Bert4RecForMaskedLM(config),
    args=Bert4RecTrainingArguments(
        output_dir="checkpoints",
        max_steps=10,
        eval_strategy="steps",
        eval_steps=10,
        save_steps=10,
        save_strategy="steps",
    ),
    train_dataset=TrainingWindows(data.train, WINDOW),
    eval_dataset=data.next_item_dataset("validation"),
    data_collator=DataCollatorForMaskedItems(data.tokenizer),
    processing_class=data.tokenizer,
)
trainer.train()
arguments = (options, ModelArguments(hidden_size=32, max_position_embeddings=WINDOW), MaskingArguments())
record = build_record(trainer, trainer.model, data, arguments, [])
folder = export(trainer.model, data.tokenizer, "outputs/python", render_card(record, titles=True))
pipe: MovieRecommendationPipeline = load_pipeline(folder)
print("\n".join(movie["title"] for movie in pipe(["fargo"], top_k=3)))
