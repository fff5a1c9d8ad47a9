"""Results do not depend on attention kernel, batch, padding, form of the inputs or data type."""

import pytest
import torch

from hf_bert4rec import Bert4RecForMaskedLM, Bert4RecModel
from hf_bert4rec.model.modeling_bert4rec import last_positions
from hf_bert4rec.model.values_bert4rec import UNKNOWN_TIME
from tests.model.tiny import CLOSE, HEADS, HIDDEN, LAYERS, VOCAB, WINDOW, answers, build, padded_left


def test_attention_weights_sum_to_one_over_attended_positions(kind, rows):
    model = build(kind)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(**rows, output_attentions=True).attentions
    assert len(attentions) == LAYERS
    padded = ~rows["attention_mask"].bool()
    for weights in attentions:
        assert weights.shape == (4, HEADS, WINDOW, WINDOW)
        shares = weights[rows["attention_mask"].bool()[:, None, :].expand(-1, HEADS, -1)]
        torch.testing.assert_close(shares.sum(-1), torch.ones(len(shares)), **CLOSE)
        assert (weights.transpose(2, 3)[padded[:, None, :].expand(-1, HEADS, -1)].amax() == 0).all()


def test_hidden_states_are_those_of_every_layer(kind, rows):
    model = build(kind, Bert4RecModel)
    with torch.no_grad():
        outputs = model(**rows, output_hidden_states=True)
    assert len(outputs.hidden_states) == LAYERS + 1
    assert all(states.shape == (4, WINDOW, HIDDEN) for states in outputs.hidden_states)
    assert torch.equal(outputs.hidden_states[-1], outputs.last_hidden_state)  # transformers' own rule
    kind.output_hidden_states = True
    assert len(build(kind)(**rows).hidden_states) == LAYERS + 1


def test_hidden_states_and_attentions_keep_gradients(kind, labelled_rows):
    model = build(kind).train()
    model.set_attn_implementation("eager")
    outputs = model(**labelled_rows, output_hidden_states=True, output_attentions=True)
    outputs_with_gradient = [outputs.hidden_states[0], outputs.attentions[0]]
    for tensor in outputs_with_gradient:
        tensor.retain_grad()
    outputs.loss.backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in outputs_with_gradient)


def test_inputs_embeds_equal_input_ids(kind, rows):
    model = build(kind)
    embedded = {
        "inputs_embeds": model.get_input_embeddings()(rows["input_ids"]),
        "attention_mask": rows["attention_mask"],
        "timestamps": rows["timestamps"],
    }
    torch.testing.assert_close(answers(model, embedded), answers(model, rows), **CLOSE)
    for inputs in ({**rows, **embedded}, {}):
        with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
            model(**inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sdpa_and_eager_agree_with_gradients(kind, labelled_rows, dtype):
    kind.hidden_dropout_prob = kind.attention_probs_dropout_prob = 0.0
    actual = {}
    for name in ("sdpa", "eager"):
        model = build(kind).to(dtype).train()
        model.set_attn_implementation(name)
        outputs = model(**labelled_rows)
        outputs.loss.backward()
        actual[name] = (outputs.logits.float(), model.bert4rec.layers[0].attention.value.weight.grad.float())
    tolerance = CLOSE if dtype is torch.float32 else {"atol": 0.1, "rtol": 0.1}
    for sdpa, eager in zip(actual["sdpa"], actual["eager"], strict=True):
        torch.testing.assert_close(sdpa, eager, **tolerance)


@pytest.mark.parametrize("train", [False, True], ids=["logits", "gradients"])
def test_flex_attention_agrees_where_it_runs(kind, labelled_rows, train):
    kind.hidden_dropout_prob = kind.attention_probs_dropout_prob = 0.0
    results = []
    for name in ("sdpa", "flex_attention"):
        model = build(kind).train(train)
        model.set_attn_implementation(name)
        try:  # it compiles a kernel: a CPU needs a C++ compiler for it, and torch has no backward pass for a CPU
            if train:
                model(**labelled_rows).loss.backward()
                results.append(model.bert4rec.layers[0].attention.value.weight.grad)
            else:
                results.append(answers(model, {**labelled_rows, "labels": None}))
        except (RuntimeError, NotImplementedError) as error:
            pytest.skip(f"flex attention does not run here: {type(error).__name__}")
    tolerance = 1e-5 if train else 1e-4
    torch.testing.assert_close(results[1], results[0], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_row_does_not_depend_on_its_batch(kind, rows, implementation):
    model = build(kind)
    model.set_attn_implementation(implementation)
    together = model(**rows).logits
    for row in range(4):
        single = model(**{name: tensor[row : row + 1] for name, tensor in rows.items()}).logits[0]
        attended = rows["attention_mask"][row].bool()
        torch.testing.assert_close(single[attended], together[row][attended], **CLOSE)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_padding_left_right_and_none(kind, rows, implementation):
    model = build(kind)
    model.set_attn_implementation(implementation)
    for row, length in enumerate((12, 9, 5, 1)):
        ids = rows["input_ids"][row : row + 1, :length]
        bare = model(ids).logits
        torch.testing.assert_close(model(ids, torch.ones_like(ids)).logits, bare, **CLOSE)
        padding = torch.zeros(1, WINDOW - length, dtype=torch.long)
        for left in (True, False):
            order = (padding, ids) if left else (ids, padding)
            mask = torch.cat(
                [torch.zeros_like(part) if part is padding else torch.ones_like(part) for part in order], 1
            )
            logits = model(torch.cat(order, 1), mask).logits[mask.bool()]
            torch.testing.assert_close(logits, bare[0], **CLOSE)


@pytest.mark.parametrize("name", ["input_ids", "timestamps"])
def test_values_at_padding_are_ignored(kind, rows, name):
    model = build(kind)
    bare = [
        model(**{key: values[row : row + 1, :length] for key, values in rows.items()}).logits[0]
        for row, length in enumerate((12, 9, 5, 1))
    ]
    padded = rows["attention_mask"] == 0
    rows[name] = torch.where(padded, 17, rows[name])
    torch.testing.assert_close(answers(model, rows), torch.cat(bare), **CLOSE)
    left = padded_left(rows)
    torch.testing.assert_close(answers(model, left), torch.cat(bare), **CLOSE)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_masks_of_other_types_and_four_dimensions(kind, rows, implementation):
    model = build(kind)
    model.set_attn_implementation(implementation)
    attended = rows["attention_mask"].bool()
    rows["timestamps"].masked_fill_(~attended, UNKNOWN_TIME)  # four dimensions do not say what is padding
    expected = answers(model, rows)
    for mask in (attended, rows["attention_mask"].float()):
        with torch.no_grad():
            actual = model(rows["input_ids"], mask, timestamps=rows["timestamps"]).logits[attended]
        torch.testing.assert_close(actual, expected, **CLOSE)
    with torch.no_grad():
        four = attended[:, None, None, :].expand(-1, 1, WINDOW, -1)
        if model.config.causal:  # a mask of four dimensions is taken as it is
            four = four & torch.ones(WINDOW, WINDOW, dtype=torch.bool).tril()
        actual = model(rows["input_ids"], four, timestamps=rows["timestamps"]).logits[attended]
    torch.testing.assert_close(actual, expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loads_and_answers(kind, rows, dtype, tmp_path):
    model = build(kind)
    model.save_pretrained(tmp_path)
    for requested in (dtype, str(dtype).removeprefix("torch.")):
        half = Bert4RecForMaskedLM.from_pretrained(tmp_path, dtype=requested)
        assert {parameter.dtype for parameter in half.parameters()} == {dtype}
        logits = answers(half, rows)
        assert logits.dtype == dtype
        assert logits.isfinite().all()
        agreement = torch.corrcoef(torch.stack([logits.float().ravel(), answers(model, rows).ravel()]))[0, 1]
        assert agreement > 0.995
    half.save_pretrained(tmp_path / "half")
    again = Bert4RecForMaskedLM.from_pretrained(tmp_path / "half")  # the type it was saved in
    assert again.dtype == dtype
    assert torch.equal(answers(again, rows), logits)


def test_a_model_repeats_itself(kind, labelled_rows, rows):
    model = build(kind)
    assert torch.equal(answers(model, rows), answers(model, rows))
    losses = []
    for _ in range(2):
        model.train()
        torch.manual_seed(3)
        losses.append(model(**labelled_rows).loss)
    assert torch.equal(*losses)
    torch.manual_seed(4)
    assert not torch.equal(model(**labelled_rows).loss, losses[0])  # dropout was at work


def test_the_loss_is_the_mean_over_labelled_positions(kind, labelled_rows):
    model = build(kind)
    with torch.no_grad():
        loss, all_logits = model(**labelled_rows)[:2]
        rows = {name: tensor for name, tensor in labelled_rows.items() if name != "labels"}
        logits = model(**rows).logits
        expected = torch.nn.functional.cross_entropy(logits.view(-1, VOCAB), labelled_rows["labels"].view(-1))
        summed = model(**labelled_rows, num_items_in_batch=torch.tensor(54)).loss
    assert torch.equal(all_logits, logits)  # evaluation gives those of all positions
    torch.testing.assert_close(loss, expected, **CLOSE)
    torch.testing.assert_close(summed, expected * int((labelled_rows["labels"] != -100).sum()) / 54, **CLOSE)


def test_the_model_compiles_to_one_graph(kind, rows):
    model = build(kind)
    exported = torch.export.export(model, (), kwargs=dict(rows), strict=False)
    with torch.no_grad():
        actual = exported.module()(**rows).logits[rows["attention_mask"].bool()]
    torch.testing.assert_close(actual, answers(model, rows), **CLOSE)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_query_positions_give_the_states_of_the_full_forward(kind, rows, attention, side):
    model = build(kind).bert4rec
    model.set_attn_implementation(attention)
    if side == "left":
        rows = {name: values.flip(1) for name, values in rows.items()}
    with torch.no_grad():
        full = model(**rows).last_hidden_state
        last = (rows["attention_mask"] * torch.arange(WINDOW)).argmax(1)
        torch.testing.assert_close(
            model(**rows, query_positions=last_positions(rows["attention_mask"]))[0],
            full[torch.arange(len(last)), last],
            **CLOSE,
        )
