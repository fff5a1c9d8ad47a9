"""Parts of the recipes of small models."""

from typing import Any

TINY: dict[str, Any] = {
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "max_position_embeddings": 12},
    **{"use_cpu": True, "bf16": False},
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
NEXT_ITEM = {"causal": True, "mlm_probability": 1.0, "mask_replace_prob": 0.0}  # every item from those before it
NO_EVALUATION = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
