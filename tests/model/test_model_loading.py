"""Loading in every form: shards, variants, device maps, offloading, earlier names; and options of the config."""

import copy
import pickle

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForMaskedLM

from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecModel
from tests.model.tiny import CLOSE, HIDDEN, LAYERS, VOCAB, answers, build, needs_transformers


def test_subfolder_and_variant(kind, rows, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path / "inner")
    again = Bert4RecForMaskedLM.from_pretrained(tmp_path, subfolder="inner")
    assert torch.equal(answers(again, rows), answers(model, rows))
    for name, options in (("one_file", {}), ("sharded", {"max_shard_size": 4000})):
        model.save_pretrained(tmp_path / name, variant="v2", **options)
        again = Bert4RecForMaskedLM.from_pretrained(tmp_path / name, variant="v2")
        assert torch.equal(answers(again, rows), answers(model, rows))
        with pytest.raises(OSError, match=r"model\.safetensors"):
            Bert4RecForMaskedLM.from_pretrained(tmp_path / name)


def test_state_dict_and_device(kind, rows, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    by_hand = Bert4RecForMaskedLM.from_pretrained(None, config=kind, state_dict=weights)
    placed = Bert4RecForMaskedLM.from_pretrained(tmp_path, device_map="cpu")
    kind.vocab_size += 1
    with pytest.raises(RuntimeError, match="size"):
        Bert4RecForMaskedLM.from_pretrained(None, config=kind, state_dict=weights)
    with torch.device("cpu"):
        within = Bert4RecForMaskedLM.from_pretrained(tmp_path)
    for again in (by_hand, placed, within):
        assert torch.equal(answers(again, rows), answers(model, rows))


def test_weights_load_under_their_earlier_names(kind, rows, tmp_path):
    model = build(kind)
    for number, buffer in enumerate(model.buffers(), start=2):
        buffer.fill_(number)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    earlier = {
        "memory.next_items": "memory.followers",
        "memory.weights": "memory.strengths",
        "memory.time_bins": "memory.eras",
        "bert4rec.time_embeddings.": "bert4rec.times.",
    }
    renamed = {}
    for name, tensor in weights.items():
        if "gap_after" not in name:  # newer than the renaming
            for today, before in earlier.items():
                name = name.replace(today, before)
        renamed[name] = tensor
    assert (renamed.keys() == weights.keys()) is not bool(kind.memory_size)
    save_file(renamed, tmp_path / "model.safetensors", {"format": "pt"})
    for loader in (Bert4RecForMaskedLM, AutoModelForMaskedLM):
        again, info = loader.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values()), info
        assert again.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    encoder, info = Bert4RecModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert torch.equal(answers(encoder, rows), answers(model.bert4rec, rows))
    again.save_pretrained(tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == weights.keys()


def test_missing_buffers_are_initialised(tmp_path):
    sizes = {"vocab_size": VOCAB, "hidden_size": HIDDEN, "max_position_embeddings": 12, "causal": True}
    Bert4RecForMaskedLM(Bert4RecConfig(**sizes)).save_pretrained(tmp_path)
    options = {"memory_size": 20, "time_aware": True}
    loaded, info = Bert4RecForMaskedLM.from_pretrained(tmp_path, output_loading_info=True, **options)
    assert {"memory.next_items", "memory.weights", "memory.time_bins"} < set(info["missing_keys"])
    with torch.device("meta"):
        emptied = Bert4RecForMaskedLM(Bert4RecConfig(**sizes, **options))
    emptied.to_empty(device="cpu")
    for buffer in emptied.buffers():
        buffer.fill_(7)
    emptied.init_weights()
    for model in (loaded, emptied):
        assert model.bert4rec.time_embeddings.span.tolist() == [0, 1]
        assert [tuple(table.shape) for table in model.memory.buffers()] == [(VOCAB, 20)] * 3
        assert not any(table.any() for table in model.memory.buffers())


def test_a_memory_of_another_size_starts_empty(kind, tmp_path):
    if not kind.memory_size:
        pytest.skip("no memory")
    model = build(kind)
    model.memory.weights.fill_(3)
    model.save_pretrained(tmp_path)
    again = Bert4RecForMaskedLM.from_pretrained(tmp_path, memory_size=9, ignore_mismatched_sizes=True)
    assert again.memory.weights.shape == (VOCAB, 9)
    assert not again.memory.weights.any()


@pytest.mark.parametrize("offload", ["cpu", "disk"])
def test_offloading_does_not_change_scores(kind, rows, offload, tmp_path):
    model = build(kind)
    if model.memory is not None:
        model.memory.weights.uniform_()
    inputs = rows if kind.time_aware else {name: rows[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = model.next_item_logits(**inputs)
    every = answers(model, rows)
    if offload == "cpu":
        cpu_offload(model, torch.device("cpu"), offload_buffers=True)
    else:
        disk_offload(model, tmp_path, torch.device("cpu"), offload_buffers=True)
    assert model.decoder.weight.is_meta
    with torch.no_grad():
        assert torch.equal(model.next_item_logits(**inputs), expected)
    assert torch.equal(answers(model, rows), every)


def test_a_device_map_may_spill_to_disk(kind, rows, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    names = [f"bert4rec.{name}" for name, _ in model.bert4rec.named_children()]
    names += [name for name, _ in model.named_children() if name != "bert4rec"]
    device_map = dict.fromkeys(names, "cpu") | {"bert4rec.layers": "disk"}
    again = Bert4RecForMaskedLM.from_pretrained(
        tmp_path, device_map=device_map, offload_folder=tmp_path / "offload", offload_buffers=True
    )
    assert again.bert4rec.layers[1].feed_forward.up.weight.is_meta
    assert torch.equal(answers(again, rows), answers(model, rows))
    with torch.no_grad():
        assert torch.equal(again.next_item_logits(**rows), model.next_item_logits(**rows))


def test_a_model_can_be_created_on_meta(kind):
    with torch.device("meta"):
        model = Bert4RecForMaskedLM(kind)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_an_untied_model_keeps_a_change_of_its_output_embeddings(kind, rows, tmp_path):
    model = build(kind)
    expected = model.bert4rec(**rows).last_hidden_state
    model.config.tie_word_embeddings = False
    model.decoder.weight = nn.Parameter(model.decoder.weight.detach().clone())
    generator = torch.Generator().manual_seed(0)
    low_rank = torch.randn(VOCAB, 2, generator=generator) @ torch.randn(2, HIDDEN, generator=generator)
    with torch.no_grad():
        logits = model(**rows).logits + model.head(expected) @ low_rank.T  # as an adapter of the decoder gives
        model.decoder.weight += low_rank
    model.save_pretrained(tmp_path)
    again = Bert4RecForMaskedLM.from_pretrained(tmp_path)
    torch.testing.assert_close(answers(again, rows), logits[rows["attention_mask"].bool()], **CLOSE)


@needs_transformers(5, 10, reason="transformers 5.5 takes the traced length of a mask for cache positions")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_takes_any_number_and_length_of_histories(kind, rows):
    model = build(kind)
    if model.memory is not None:
        model.memory.weights.fill_(1)
        model.memory.next_items.random_(3, VOCAB, generator=torch.Generator().manual_seed(0))

    class NextItem(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            return self.model.next_item_logits(*inputs)

    module = NextItem().eval()
    tensors = tuple(rows.values())
    for positions in (slice(0, 5), slice(0, 12)):
        traced = torch.jit.trace(module, tuple(tensor[:2, positions] for tensor in tensors))
        for number, length in ((1, 1), (1, 7), (4, 5), (4, 12)):
            inputs = [tensor[:number, :length] for tensor in tensors]
            with torch.no_grad():
                torch.testing.assert_close(traced(*inputs), module(*inputs), **CLOSE)


def test_every_tensor_is_a_parameter_or_a_buffer(kind):
    for name, module in build(kind).named_modules():
        held = {key for key, value in vars(module).items() if isinstance(value, torch.Tensor)}
        assert not held, f"{name}: {held}, which no save and no move to a device would take along"


def test_copies_answer_the_same(kind, rows):
    model = build(kind)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(answers(again, rows), answers(model, rows))
        assert again.get_output_embeddings().weight is again.get_input_embeddings().weight


def test_encoder_and_head_share_one_config_and_its_attention(kind, rows):
    model = build(kind)
    assert model.config is model.bert4rec.config
    assert model.config._attn_implementation == "sdpa"
    for name in ("eager", "sdpa", "eager"):
        model.set_attn_implementation(name)
        assert {layer.attention.config._attn_implementation for layer in model.bert4rec.layers} == {name}
    assert len(model(**rows, output_attentions=True).attentions) == LAYERS


def test_outputs_chosen_by_the_config(kind, rows):
    kind.return_dict = False
    assert isinstance(build(kind)(**rows), tuple)
    kind._attn_implementation = "eager"  # sdpa has no weights to give, and transformers says so
    kind.return_dict, kind.output_attentions = True, True
    outputs = build(kind)(**rows)
    assert len(outputs.attentions) == LAYERS
    assert outputs.hidden_states is None


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_resized_to_a_multiple_are_saved(kind, rows, tied, tmp_path):
    kind.tie_word_embeddings = tied
    model = build(kind)
    model.resize_token_embeddings(VOCAB + 1, pad_to_multiple_of=16)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 48
    assert model.get_output_embeddings().weight.shape == (48, HIDDEN)
    assert model.get_output_embeddings().bias.shape == (48,)
    assert answers(model, rows).isfinite().all()
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
    model.save_pretrained(tmp_path)
    again, info = Bert4RecForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(answers(again, rows), answers(model, rows))


def test_a_few_rows_can_be_memorised(kind, labelled_rows):
    kind.hidden_dropout_prob = kind.attention_probs_dropout_prob = 0.0
    model = build(kind).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = model(**labelled_rows).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_gradients_reach_inputs_embeds(kind, labelled_rows):
    model = build(kind)
    embedded = model.get_input_embeddings()(labelled_rows.pop("input_ids")).detach().requires_grad_()
    model(inputs_embeds=embedded, **labelled_rows).loss.backward()
    assert embedded.grad.abs().sum() > 0


def test_the_defaults_make_a_model_and_options_override_a_saved_config(kind, tmp_path):
    assert Bert4RecForMaskedLM(Bert4RecConfig(vocab_size=9)).decoder.out_features == 9
    kind.save_pretrained(tmp_path / "inner")
    again = Bert4RecConfig.from_pretrained(tmp_path, subfolder="inner", hidden_dropout_prob=0.75)
    assert again.hidden_dropout_prob == 0.75
    assert {**again.to_dict(), "hidden_dropout_prob": kind.hidden_dropout_prob} == kind.to_dict()
    assert not isinstance(build(again).bert4rec.layers[0].dropout, nn.Identity)
