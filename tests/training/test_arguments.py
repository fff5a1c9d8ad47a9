"""Recipes: every key is applied, the command line overrides, and typos are named."""

import pytest

from hf_bert4rec.training.arguments import parse, parse_options


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"dataset: ml-1m\nhidden_size: 32\nlearning_rate: 5e-4\nbf16: false\noutput_dir: {tmp_path}/out\n")
    return path


def test_a_recipe_sets_and_the_command_line_overrides(recipe):
    data, model, masking, training = parse([str(recipe), "--hidden_size", "48", "--mlm_probability", "0.4"])
    assert data.dataset == "ml-1m"
    assert model.hidden_size == 48
    assert masking.mlm_probability == 0.4
    assert training.learning_rate == 5e-4  # which YAML reads as a string
    assert training.bf16 is False
    assert parse([str(recipe), "--learning_rate", "1e-2"])[3].learning_rate == 1e-2


def test_options_on_the_command_line_are_not_chosen_from_the_data(recipe):
    _, _, masking, _ = parse([str(recipe), "--auto", "hidden_size", "ema_decay", "--hidden_size", "48"])
    assert masking.auto == ["ema_decay"]
    assert parse([str(recipe), "--auto", "hidden_size"])[2].auto == ["hidden_size"]
    assert parse([str(recipe), "--auto", "hidden_size", "ema_decay", "--hidden-size=48"])[2].auto == ["ema_decay"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rat: 1", r"recipe.yaml: unknown option --learning_rat; did you mean --learning_rate\?"),
        ("push_to_hub: true", "push_to_hub would publish training_args.bin"),
        ("split: temporl", r"recipe.yaml: argument --split: invalid choice: 'temporl'"),
        ("split: last-n\ntargets: 0", "targets is 0; split=last-n holds out 1 or more items per user"),
        ("num_hidden_layers: 2.5", r"recipe.yaml: argument --num_hidden_layers.*invalid int value: '2.5'"),
        ("causal: maybe", r"recipe.yaml: .*'?maybe'?"),
        ("seed: [1", r"recipe.yaml is not a YAML file"),
        ("early_stopping_patience: -1", "early_stopping_patience is -1"),
        ("popularity_penalty: -0.1", "popularity_penalty is -0.1; it must be 0 or more"),
        (
            "early_stopping_patience: 3\neval_strategy: 'no'\nload_best_model_at_end: false",
            "early_stopping_patience needs evaluations: set eval_strategy",
        ),
        ("train_sampling_strategy: sequential", "is sequential; it must be group_by_length or random"),
        ("metric_for_best_model: loss", r"is loss; it must be one of hit_rate@5, ndcg@5, .*, mrr"),
        ("items: catalogue.csv", "items is 'catalogue.csv', which needs a table"),
    ],
)
def test_bad_keys_are_named(recipe, line, message):
    recipe.write_text(recipe.read_text() + line + "\n")
    with pytest.raises(ValueError, match=message):
        parse([str(recipe)])


@pytest.mark.parametrize("off", ["none", "None", "0"])
def test_early_stopping_of_a_recipe_can_be_switched_off(recipe, off):
    recipe.write_text(recipe.read_text() + "early_stopping_patience: 3\nema_decay: 0.9\nwindow_stride: null\n")
    assert parse([str(recipe)])[2].early_stopping_patience == 3
    _, _, masking, training = parse([str(recipe), "--early_stopping_patience", off, "--ema_decay", "none"])
    assert not masking.early_stopping_patience
    assert masking.window_stride is None
    assert training.ema_decay is None


@pytest.mark.parametrize("name", ["columns", "target_events"])
def test_lists_of_a_recipe_can_be_unset(recipe, name):
    recipe.write_text(recipe.read_text() + f"ratings: shop.csv\nevent_column: kind\n{name}: [buy, cart]\n")
    assert getattr(parse([str(recipe)])[0], name) == ["buy", "cart"]
    assert getattr(parse([str(recipe), f"--{name}", "none"])[0], name) is None
    assert getattr(parse_options(recipe, {name: None})[0][0], name) is None


def test_lists_and_mappings_of_a_recipe_reach_the_run(recipe):
    lines = "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1.0e-5}\nreport_to: [tensorboard]\n"
    recipe.write_text(recipe.read_text() + lines)
    training = parse([str(recipe)])[3]
    assert training.report_to == ["tensorboard"]  # the last key, which a list of words may follow
    assert training.lr_scheduler_kwargs == {"min_lr": 1e-5}
    training = parse(["--seed", "3", str(recipe), "--report_to", "none"])[3]  # the recipe after an option
    assert (training.seed, training.report_to) == (3, [])


def test_options_are_not_abbreviated(recipe):
    with pytest.raises(ValueError, match="unknown option --target"):
        parse([str(recipe), "--target", "3"])
