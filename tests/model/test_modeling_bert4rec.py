"""The model against transformers' BERT, and its options."""

import copy

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecModel
from hf_bert4rec.data.collators import DataCollatorForMaskedItems
from hf_bert4rec.model.modeling_bert4rec import rotary_angles, rotate
from tests.model.tiny import build

ATTENTION_NAMES = {"query": "self.query", "key": "self.key", "value": "self.value", "output": "output.dense"}


def bert_weights(state: dict[str, torch.Tensor], layers: int, hidden: int) -> dict[str, torch.Tensor]:
    """This model's weights under their names in `BertForMaskedLM`."""
    renamed = {
        "bert.embeddings.word_embeddings": "bert4rec.embeddings.item_embeddings",
        "bert.embeddings.position_embeddings": "bert4rec.embeddings.position_embeddings",
        "bert.embeddings.LayerNorm": "bert4rec.embeddings.norm",
        "cls.predictions.transform.dense": "head.dense",
        "cls.predictions.transform.LayerNorm": "head.norm",
        "cls.predictions.decoder": "decoder",
    }
    for layer in range(layers):
        theirs, ours = f"bert.encoder.layer.{layer}", f"bert4rec.layers.{layer}"
        for name, bert_name in ATTENTION_NAMES.items():
            renamed[f"{theirs}.attention.{bert_name}"] = f"{ours}.attention.{name}"
        renamed[f"{theirs}.attention.output.LayerNorm"] = f"{ours}.attention_norm"
        renamed[f"{theirs}.intermediate.dense"] = f"{ours}.feed_forward.up"
        renamed[f"{theirs}.output.dense"] = f"{ours}.feed_forward.down"
        renamed[f"{theirs}.output.LayerNorm"] = f"{ours}.feed_forward_norm"
    copied = {
        f"{theirs}.{part}": state[f"{ours}.{part}"]
        for theirs, ours in renamed.items()
        for part in ("weight", "bias")
        if f"{ours}.{part}" in state
    }
    copied["cls.predictions.bias"] = state["decoder.bias"]
    copied["bert.embeddings.token_type_embeddings.weight"] = torch.zeros(2, hidden)
    return copied


@pytest.fixture
def bert(model, config) -> BertForMaskedLM:
    shared = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    sizes = {name: getattr(config, name) for name in shared}
    theirs = BertForMaskedLM(
        BertConfig(**sizes, max_position_embeddings=config.max_position_embeddings, layer_norm_eps=1e-12)
    ).eval()
    weights = bert_weights(model.state_dict(), config.num_hidden_layers, config.hidden_size)
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}
    return theirs


@pytest.fixture
def batch(tokenizer) -> dict[str, torch.Tensor]:
    """Three rows of 12, 7 and 2 positions, padded on the right, the last position masked."""
    torch.manual_seed(1)
    lengths = torch.tensor([12, 7, 2])
    attention_mask = (torch.arange(12) < lengths[:, None]).long()
    input_ids = torch.randint(tokenizer.first_item_id, len(tokenizer), (3, 12)) * attention_mask
    labels = torch.full_like(input_ids, -100)
    rows = torch.arange(3)
    labels[rows, lengths - 1] = input_ids[rows, lengths - 1]
    input_ids[rows, lengths - 1] = tokenizer.mask_token_id
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def test_logits_and_gradients_equal_berts(model, bert, batch):
    ours, theirs = model(**batch), bert(**batch)
    ours.loss.backward()
    theirs.loss.backward()
    labelled = batch["labels"] != -100
    torch.testing.assert_close(ours.logits[labelled], theirs.logits[labelled], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.loss, theirs.loss, atol=1e-5, rtol=1e-5)
    state = {name: parameter.grad for name, parameter in model.named_parameters()}
    state["decoder.weight"] = state["bert4rec.embeddings.item_embeddings.weight"]
    expected = bert_weights(state, model.config.num_hidden_layers, model.config.hidden_size)
    compared = 0
    for name, parameter in bert.named_parameters():
        if "token_type" in name:
            continue
        torch.testing.assert_close(expected[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)
        compared += 1
    assert compared == len(list(model.parameters()))


def test_sparse_prediction_changes_the_shape_only(model, batch):
    torch.manual_seed(0)  # of the dropout
    sparse = model.train()(**batch)
    model.config.sparse_prediction = False
    torch.manual_seed(0)
    dense = model(**batch)
    assert dense.logits.shape == (3, 12, model.config.vocab_size)
    torch.testing.assert_close(dense.logits[batch["labels"] != -100], sparse.logits)
    torch.testing.assert_close(dense.loss, sparse.loss)


@pytest.mark.parametrize("option", ["pre_layer_norm", "rotary_positions", "causal", "previous_item"])
def test_every_option_reaches_the_scores(config, model, batch, option):
    changed_config = copy.deepcopy(config)  # the model reads its own
    setattr(changed_config, option, True)
    changed = build(changed_config)
    changed.load_state_dict(model.state_dict(), strict=False)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    assert not torch.allclose(changed(**inputs).logits, model(**inputs).logits, atol=1e-3)


@pytest.mark.parametrize(("option", "task"), [("causal", {}), ("previous_item", {"is_causal": True})])
def test_causal_predictions_are_from_earlier_positions_only(config, batch, option, task):
    setattr(config, option, True)
    model = Bert4RecForMaskedLM(config).eval()
    ids, ones = batch["input_ids"][:1], batch["attention_mask"][:1]  # a row of 12 positions
    logits = model(ids, ones, **task).logits
    for position in range(12):
        edited = ids.clone()
        edited[0, position] = 3 + (ids[0, position] - 2) % 40
        changed = ~torch.isclose(model(edited, ones, **task).logits, logits, atol=1e-6).all(-1)[0]  # (12,)
        assert changed.tolist() == [later > position for later in range(12)]


def first_layer_inputs(model, ids, **options) -> torch.Tensor:
    """Input embeddings of one row before positions, norm and dropout, (seq, hidden)."""
    inputs = []
    hook = model.bert4rec.embeddings.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    model(torch.tensor([ids]), **options)
    hook.remove()
    return inputs[0][0]


def test_a_position_gets_the_sum_of_its_item_and_the_previous_one(config):
    config.previous_item = True
    model = Bert4RecForMaskedLM(config).eval()
    item = model.bert4rec.embeddings.item_embeddings.weight
    expected = torch.stack([item[5] + item[1], item[1] + item[5], item[9] + item[1]])
    torch.testing.assert_close(first_layer_inputs(model, [5, 1, 9]), expected)
    expected = torch.stack([item[1] + item[1], item[1] + item[5], item[1] + item[7]])
    torch.testing.assert_close(first_layer_inputs(model, [5, 7, 9], is_causal=True), expected)
    config.previous_item = False
    expected = torch.stack([item[1], item[5], item[7]])
    torch.testing.assert_close(first_layer_inputs(model, [5, 7, 9], is_causal=True), expected)


def test_a_masked_item_reaches_no_position(config, tokenizer):
    """The sums of a masked position and of the one after it hold [MASK], so nothing of the item is left to see."""
    config.previous_item = True
    model = Bert4RecForMaskedLM(config).eval()
    collator = DataCollatorForMaskedItems(tokenizer, mlm_probability=0.3)
    rows = [{"input_ids": np.array([5, 9, 7, 21, 30, 11]), "index": 0, "epoch": 0}]
    masked = collator(rows)
    position = int((masked["labels"] != -100).nonzero()[0, 1])
    rows[0]["input_ids"][position] = 40
    other = collator(rows)
    assert other["labels"][0, position] == 40 != masked["labels"][0, position]
    assert torch.equal(model(other["input_ids"]).logits, model(masked["input_ids"]).logits)


def test_a_causal_model_is_the_plain_one_with_the_causal_task(config, model, batch):
    causal_config = copy.deepcopy(config)
    causal_config.causal = True
    causal = Bert4RecForMaskedLM(causal_config).eval()
    causal.load_state_dict(model.state_dict())
    expected = causal(batch["input_ids"], batch["attention_mask"]).logits
    assert torch.equal(model(batch["input_ids"], batch["attention_mask"], is_causal=True).logits, expected)


def test_a_causal_model_has_the_previous_item_already():
    with pytest.raises(ValueError, match="previous_item=True with causal=True"):
        Bert4RecConfig(previous_item=True, causal=True)


def test_rotary_positions_equal_llamas():
    torch.manual_seed(0)
    heads, head_dim = 3, 8
    position_ids = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 7, 8, 190]])
    states = torch.randn(2, 5, heads * head_dim)
    llama = LlamaConfig(hidden_size=heads * head_dim, num_attention_heads=heads, head_dim=head_dim)
    cos, sin = LlamaRotaryEmbedding(llama)(states, position_ids)
    split = states.unflatten(-1, (heads, head_dim)).transpose(1, 2)
    expected, _ = apply_rotary_pos_emb(split, split, cos, sin)
    actual = rotate(states, rotary_angles(position_ids, heads, head_dim, torch.float32), head_dim)
    torch.testing.assert_close(actual.unflatten(-1, (heads, head_dim)).transpose(1, 2), expected)


def test_a_history_longer_than_the_window_is_refused(model):
    with pytest.raises(ValueError, match="13 positions exceeds the model's window of 12"):
        model(torch.full((1, 13), 5))


def test_a_batch_may_be_wider_than_the_window(model):
    ids = torch.zeros(1, 20, dtype=torch.long)
    ids[:, 15:] = 5
    assert model(ids, (ids > 0).long()).logits.shape == (1, 20, model.config.vocab_size)


@pytest.mark.parametrize(("own", "expected"), [(None, 0.5), (0.0, 0.0), (0.25, 0.25)])
def test_dropout_of_the_embeddings(config, own, expected):
    config.hidden_dropout_prob, config.embedding_dropout_prob = 0.5, own
    embeddings = Bert4RecModel(config).train().embeddings
    states = embeddings(torch.randn(64, 8, config.hidden_size), torch.arange(8)[None])
    assert (states == 0).float().mean().item() == pytest.approx(expected, abs=0.02)
