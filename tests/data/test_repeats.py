"""Users who come back to items: the histories, their split, and models that recommend items again."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from datasets import Dataset, DatasetDict

from hf_bert4rec import Bert4RecForMaskedLM, MovieRecommendationPipeline
from hf_bert4rec.batch.users import read_users
from hf_bert4rec.data import LeakageError, build_histories, check_leakage, leave_one_out
from hf_bert4rec.data.arguments import DataArguments
from hf_bert4rec.data.prepare import prepare
from hf_bert4rec.data.prepared import PreparedData
from hf_bert4rec.evaluation.config import EvaluationConfig
from hf_bert4rec.evaluation.task import build_task
from hf_bert4rec.evaluation.validation import validation_metrics
from hf_bert4rec.training.arguments import parse_options
from hf_bert4rec.training.build import build_trainer
from hf_bert4rec.training.initialization import positive_mutual_information

VISITS = Dataset.from_dict({"user_id": [1] * 5 + [2], "movie_id": [5, 6, 5, 7, 5, 6], "timestamp": [1, 2, 3, 4, 5, 1]})
REPEAT, ITEMS = 0.6, 200


@pytest.mark.parametrize(
    ("repeats", "items", "times"),
    [("first", [5, 6, 7], [1, 2, 4]), ("last", [6, 7, 5], [2, 4, 5]), ("all", [5, 6, 5, 7, 5], [1, 2, 3, 4, 5])],
)
def test_the_first_the_last_or_all_visits_count(
    repeats: str, items: list[int], times: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    histories = build_histories(VISITS, 1, repeats=repeats)
    assert histories[0] == {"user_id": 1, "item_ids": items, "timestamps": times}
    assert histories[1]["item_ids"] == [6]
    assert ("2 of 6 interactions repeat a user's" in caplog.text) == (repeats != "all")


def test_the_held_out_item_may_be_one_of_the_history_but_not_its_last_visit() -> None:
    split = leave_one_out(build_histories(VISITS, 1, repeats="all"))
    (test,) = split["test"]
    assert (test["item_ids"], test["target"]) == ([5, 6, 5, 7], 5)
    check_leakage(split, repeats=True)
    with pytest.raises(LeakageError, match="test target is in the same user's test history; the first is item 5"):
        check_leakage(split)
    complete = build_histories(VISITS, 1, repeats="all")
    with pytest.raises(LeakageError, match="validation target is in the same user's training history"):
        check_leakage(DatasetDict(split | {"train": complete}), repeats=True)
    longer = split["validation"].map(lambda row: {"item_ids": [5, 6, 5, 5]})
    with pytest.raises(LeakageError, match="test target is in the same user's validation history"):
        check_leakage(DatasetDict(split | {"validation": longer}), repeats=True)


def test_options_that_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="repeats=all with split=last-n"):
        DataArguments(repeats="all", split="last-n")
    with pytest.raises(ValueError, match="repeats is 'every'; it must be one of first, last, all"):
        build_histories(VISITS, repeats="every")


def listeners(users: int = 150, length: int = 30) -> pl.DataFrame:
    """Each listener plays one of the last three tracks again with probability `REPEAT`, or else any track."""
    generator, rows = np.random.default_rng(0), []
    for user in range(users):
        played: list[int] = []
        for step in range(length):
            recent = list(dict.fromkeys(played[::-1]))[:3]
            repeat = recent and generator.random() < REPEAT
            played.append(int(generator.choice(recent) if repeat else generator.integers(ITEMS)))
            rows.append((user, played[-1], 1_700_000_000 + 600 * step))
    return pl.DataFrame(rows, schema=["user", "track_id", "time"], orient="row")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bert4RecForMaskedLM, PreparedData]:
    options: dict[str, Any] = {
        **{"ratings": "listens", "repeats": "all", "min_interactions": 1, "output_dir": tmp_path_factory.mktemp("out")},
        **{"hidden_size": 32, "num_hidden_layers": 1, "max_position_embeddings": 32, "rotary_positions": True},
        **{"hidden_dropout_prob": 0.5, "causal": True, "mlm_probability": 1.0, "mask_replace_prob": 0.0},
        **{
            "memory_size": 50,
            "memory_weight": 1.0,
            "num_train_epochs": 1,
            "learning_rate": 3e-3,
            "cooccurrence_init": 0.06,
            "use_cpu": True,
        },
        **{"bf16": False, "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none"},
    }
    (data, model, masking, training), _ = parse_options({}, options)
    prepared = prepare(data, listeners())
    trainer = build_trainer(prepared, model, masking, training)
    trainer.train()
    return trainer.gathered_model().float().eval(), prepared


def test_the_model_finds_that_listeners_repeat(trained: tuple[Bert4RecForMaskedLM, PreparedData]) -> None:
    model, data = trained
    metrics = validation_metrics(model, data, seed=0)
    assert metrics["model"]["hit_rate@10"] > 0.55  # at most about 0.62, the repeats and some luck
    assert metrics["popularity"]["hit_rate@10"] < 0.1  # ten of 200 tracks
    assert model.config.exclude_seen is False
    pipe = MovieRecommendationPipeline(model=model, tokenizer=data.tokenizer, task="movie-recommendation")
    histories = data.split_tables["test"]["item_ids"][:20]
    repeated = [answer[0]["track_id"] in history for history, answer in zip(histories, pipe(histories), strict=True)]
    assert np.mean(repeated) > REPEAT
    new = {movie["track_id"] for movie in pipe(histories[0], top_k=20, exclude_seen=True)}
    assert not new & set(histories[0])


def test_evaluation_ranks_items_of_the_history_too(trained: tuple[Bert4RecForMaskedLM, PreparedData]) -> None:
    _, data = trained
    task = build_task(data, EvaluationConfig())
    assert not any(len(block.values) for block in task.seen.blocks())
    assert len(task.seen) == len(task.targets)
    targets = [target in history for history, target in zip(task.histories, task.targets.values, strict=True)]
    assert 0.5 < np.mean(targets) < 0.8


def test_a_repeated_item_is_not_its_own_neighbour(trained: tuple[Bert4RecForMaskedLM, PreparedData]) -> None:
    _, data = trained
    assert not positive_mutual_information(data.train, len(data.tokenizer)).diagonal().any()


def test_batches_of_users_get_items_again(trained: tuple[Bert4RecForMaskedLM, PreparedData], tmp_path: Path) -> None:
    _, data = trained
    listeners(users=3).write_parquet(tmp_path / "listens.parquet")
    options = DataArguments(ratings=str(tmp_path / "listens.parquet"))
    assert read_users(options, data.tokenizer, exclude_seen=False).seen.lengths.tolist() == [0, 0, 0]
    assert read_users(options, data.tokenizer).seen.lengths.tolist() == [30, 30, 30]
