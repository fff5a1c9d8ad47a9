"""The checks of transformers' common pipeline tests."""

from __future__ import annotations

import copy
import pickle
import types

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForMaskedLM, AutoTokenizer, Pipeline, pipeline
from transformers.pipelines import PIPELINE_REGISTRY, get_supported_tasks

from hf_bert4rec import MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK

HISTORIES = [[10, 13], [16], [19, 22, 25]]


@pytest.fixture
def folder(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def close(found, expected) -> bool:
    """The same movies, with scores that differ by rounding at most."""
    pairs = [
        (a, b)
        for actual, reference in zip(found, expected, strict=True)
        for a, b in zip(actual, reference, strict=True)
    ]
    return all(a["movie_id"] == b["movie_id"] and abs(a["score"] - b["score"]) < 1e-5 for a, b in pairs)


def test_the_task_is_registered():
    assert TASK in get_supported_tasks()
    _, targets, _ = PIPELINE_REGISTRY.check_task(TASK)
    assert targets["impl"] is MovieRecommendationPipeline
    assert targets["pt"] == (AutoModelForMaskedLM,)


def test_a_loaded_pipeline_gives_the_same_answers(pipe, folder):
    again = pipeline(TASK, model=str(folder), pipeline_class=MovieRecommendationPipeline)
    assert isinstance(again, Pipeline)
    assert again(HISTORIES) == pipe(HISTORIES)
    by_code = pipeline(TASK, model=str(folder), trust_remote_code=True)
    assert by_code(HISTORIES) == pipe(HISTORIES)
    by_parts = pipeline(
        TASK,
        model=AutoModelForMaskedLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        pipeline_class=MovieRecommendationPipeline,
    )
    assert by_parts(HISTORIES) == pipe(HISTORIES)


def test_a_loaded_pipeline_can_be_saved_again(pipe, folder, tmp_path):
    pipeline(TASK, model=str(folder), trust_remote_code=True).save_pretrained(tmp_path / "second")
    again = pipeline(TASK, model=str(tmp_path / "second"), trust_remote_code=True)
    assert again(HISTORIES) == pipe(HISTORIES)


def test_lists_columns_and_generators_iterate(pipe):
    expected = pipe(HISTORIES)
    answers = pipe(history for history in HISTORIES)
    assert isinstance(answers, types.GeneratorType)
    assert close(list(answers), expected)
    assert close(pipe(Dataset.from_dict({"history": HISTORIES})["history"]), expected)
    assert close([pipe(history) for history in HISTORIES], expected)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_batch_size_of_the_call_and_of_the_pipeline(model, tokenizer, pipe, batch_size):
    built = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, batch_size=batch_size)
    assert close(built(HISTORIES), pipe(HISTORIES))
    assert close(pipe(HISTORIES, batch_size=batch_size), pipe(HISTORIES))


def test_the_dtype_is_that_of_the_model(folder):
    assert pipeline(TASK, model=str(folder), trust_remote_code=True).dtype is torch.float32
    for dtype in (torch.bfloat16, "bfloat16"):
        half = pipeline(TASK, model=str(folder), trust_remote_code=True, dtype=dtype)
        assert half.dtype is torch.bfloat16
        assert len(half([10])) == 10


def test_a_pipeline_can_be_copied_and_pickled(pipe):
    expected = pipe(HISTORIES)
    for again in (copy.deepcopy(pipe), pickle.loads(pickle.dumps(pipe))):
        assert again(HISTORIES) == expected


def test_options_of_a_request_override_those_of_the_call_and_the_pipeline(model, tokenizer):
    pipe = MovieRecommendationPipeline(model=model, tokenizer=tokenizer, task=TASK, top_k=2)
    assert [len(answer) for answer in pipe([[10], {"history": [10], "top_k": 4}])] == [2, 4]
    assert [len(answer) for answer in pipe([[10], {"history": [10], "top_k": 4}], top_k=3)] == [3, 4]
    assert len(pipe([10])) == 2  # nothing of a call stays


def test_the_model_is_in_evaluation_mode(pipe):
    pipe.model.train()
    built = MovieRecommendationPipeline(model=pipe.model, tokenizer=pipe.tokenizer, task=TASK)
    assert not built.model.training
    assert built(HISTORIES) == built(HISTORIES)
