"""The checks of transformers' common model tests, on tiny models of each kind."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecModel
from tests.model.tiny import CLOSE, HIDDEN, VOCAB, answers, build, needs_transformers

CLASSES = [Bert4RecModel, Bert4RecForMaskedLM]


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("shard_size", ["5GB", 4000])
def test_outputs_are_bit_identical_after_saving_and_loading(kind, rows, cls, shard_size, tmp_path):
    model = build(kind, cls)
    model.save_pretrained(tmp_path, max_shard_size=shard_size)
    files = sorted(path.name for path in tmp_path.glob("model*.safetensors"))
    if shard_size == 4000:
        assert len(files) > 2
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert sorted(set(index["weight_map"].values())) == files
    else:
        assert files == ["model.safetensors"]
    assert not list(tmp_path.glob("*.bin"))
    again, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert not again.training
    assert torch.equal(answers(again, rows), answers(model, rows))


def test_the_head_loads_into_the_encoder_and_back(kind, rows, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path / "head")
    encoder = AutoModel.from_pretrained(tmp_path / "head")
    assert type(encoder) is Bert4RecModel
    assert torch.equal(answers(encoder, rows), answers(model.bert4rec, rows))
    encoder.save_pretrained(tmp_path / "encoder")
    grown, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert type(grown) is Bert4RecForMaskedLM
    assert torch.equal(answers(grown.bert4rec, rows), answers(encoder, rows))
    missing = {"head.dense.weight", "head.dense.bias", "head.norm.weight", "head.norm.bias", "decoder.bias"}
    if kind.memory_size:
        missing |= {"memory.next_items", "memory.weights"}
    if kind.time_aware:
        missing.add("memory.time_bins")
    assert set(info["missing_keys"]) == missing
    assert not info["unexpected_keys"]


def test_tied_weights_are_one_tensor_and_are_saved_once(kind, tmp_path):
    model = build(kind)
    weight = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is weight
    model.save_pretrained(tmp_path)
    assert "decoder.weight" not in load_file(tmp_path / "model.safetensors")
    again = Bert4RecForMaskedLM.from_pretrained(tmp_path)
    with torch.no_grad():
        again.get_input_embeddings().weight[5] = 7
    assert (again.get_output_embeddings().weight[5] == 7).all()


def test_untied_weights_are_saved_separately(kind, rows, tmp_path):
    kind.tie_word_embeddings = False
    model = build(kind)
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    again = Bert4RecForMaskedLM.from_pretrained(tmp_path)
    assert again.get_output_embeddings().weight is not again.get_input_embeddings().weight
    assert torch.equal(answers(again, rows), answers(model, rows))


def test_initialisation_is_that_of_the_config(kind):
    kind.initializer_range = 0.02
    for name, parameter in build(kind).named_parameters():
        value = parameter.detach()
        if name.endswith("bias"):
            assert (value == 0).all(), name
        elif "norm" in name:
            assert (value == 1).all(), name
        else:
            assert 0.01 < value.std() < 0.03, name
            assert value.abs().mean() < 0.03, name
    assert (build(kind).get_input_embeddings().weight[kind.pad_token_id] == 0).all()


def test_missing_weights_are_initialised_and_named(kind, rows, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    lost = ["head.dense.weight", "head.norm.weight", "bert4rec.layers.0.attention.query.bias"]
    remaining = {name: tensor for name, tensor in weights.items() if name not in lost}
    save_file({**remaining, "unknown.weight": torch.ones(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    again, info = Bert4RecForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == set(lost)
    assert set(info["unexpected_keys"]) == {"unknown.weight"}
    assert torch.equal(again.head.norm.weight, torch.ones(HIDDEN))
    assert 0.1 < again.head.dense.weight.std() < 0.6
    assert all(parameter.isfinite().all() and not parameter.is_meta for parameter in again.parameters())


def test_weights_of_another_size_are_refused_unless_allowed(kind, tmp_path):
    build(kind).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=r"size|mismatch"):
        Bert4RecForMaskedLM.from_pretrained(tmp_path, vocab_size=VOCAB + 1)
    model = Bert4RecForMaskedLM.from_pretrained(tmp_path, vocab_size=VOCAB + 1, ignore_mismatched_sizes=True)
    assert (
        model.get_input_embeddings().weight.shape == model.get_output_embeddings().weight.shape == (VOCAB + 1, HIDDEN)
    )
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@needs_transformers(5, 10, reason="transformers 5.5 does not resize tied output embeddings")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [VOCAB + 10, VOCAB - 10])
def test_embeddings_can_be_resized(kind, rows, size, tied):
    kind.tie_word_embeddings = tied
    model = build(kind)
    rows["input_ids"] %= VOCAB - 10
    before = answers(model, rows)
    model.resize_token_embeddings(size, mean_resizing=False)
    assert model.config.vocab_size == size
    assert model.get_input_embeddings().num_embeddings == model.get_output_embeddings().out_features == size
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
    assert model.get_output_embeddings().bias.shape == (size,)
    after = answers(model, rows)
    common = min(size, VOCAB)
    torch.testing.assert_close(after[:, :common], before[:, :common], **CLOSE)
    loss = model(**rows, labels=rows["input_ids"]).loss
    assert loss.isfinite()


def test_embeddings_can_be_set(kind):
    model = build(kind)
    assert isinstance(model.get_input_embeddings(), torch.nn.Embedding)
    model.set_input_embeddings(torch.nn.Embedding(5, HIDDEN))
    assert model.get_input_embeddings().num_embeddings == 5
    model.set_output_embeddings(torch.nn.Linear(HIDDEN, 5))
    assert model.get_output_embeddings().out_features == 5
    assert model.main_input_name == "input_ids"


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_does_not_change_gradients(kind, labelled_rows, reentrant):
    kind.hidden_dropout_prob = kind.attention_probs_dropout_prob = 0.0
    gradients = []
    for checkpointing in (False, True):
        model = build(kind).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            assert model.is_gradient_checkpointing
        model(**labelled_rows).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, **CLOSE)
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_activation_checkpointing_repeats_dropout(kind, labelled_rows):
    gradients = []
    for checkpointing in (False, True):
        model = build(kind).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch.manual_seed(1)
        model(**labelled_rows).loss.backward()
        gradients.append(model.bert4rec.layers[0].attention.query.weight.grad)
    torch.testing.assert_close(*gradients, **CLOSE)


def test_outputs_as_tuple_and_as_dict(kind, rows, labelled_rows):
    model = build(kind)
    model.set_attn_implementation("eager")
    recorded = {"output_hidden_states": True, "output_attentions": True}
    for inputs in (labelled_rows, rows):
        with torch.no_grad():
            as_dict, as_tuple = model(**inputs, **recorded), model(**inputs, **recorded, return_dict=False)
        assert isinstance(as_tuple, tuple)
        flat = as_dict.to_tuple()
        assert len(flat) == len(as_tuple) == (4 if "labels" in inputs else 3)
        for from_dict, from_tuple in zip(flat, as_tuple, strict=True):
            for left, right in zip(*[(x,) if torch.is_tensor(x) else x for x in (from_dict, from_tuple)], strict=True):
                assert torch.equal(left, right)


def test_training_changes_every_parameter_of_each_kind(kind, labelled_rows):
    model = build(kind).train()
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(**labelled_rows).loss.backward()
    optimizer.step()
    # Softmax ignores a constant added to a row's scores, so the bias of the keys has no gradient unless it is rotated
    # by the position.
    spared = "key.bias" if not kind.rotary_positions else "none is"
    for name, parameter in model.named_parameters():
        if not name.endswith(spared):
            assert not torch.equal(parameter, before[name]), name


def test_the_config_survives_json(kind, tmp_path):
    kind.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "bert4rec"
    again = Bert4RecConfig.from_pretrained(tmp_path)
    assert again.to_dict() == kind.to_dict()
    assert Bert4RecConfig.from_dict(json.loads(kind.to_json_string())).to_dict() == kind.to_dict()
    for name in ("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"):
        assert getattr(kind, name) == written[name]
