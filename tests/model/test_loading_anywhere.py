"""Folders and objects open with `pipeline` however they were saved; also in threads, workers and `datasets.map`."""

import copy
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dill
import pytest
import torch
from transformers import AutoModelForMaskedLM, Pipeline, pipeline
from transformers.pipelines import PIPELINE_REGISTRY, get_supported_tasks

from hf_bert4rec import Bert4RecForMaskedLM, MovieRecommendationPipeline
from hf_bert4rec.hub.export import write_folder
from hf_bert4rec.model.pipeline_bert4rec import TASK
from tests.model.tiny import assert_same_answer, ids_of
from tests.processes import run_python

HISTORY = [10, 13]
WITHOUT_THE_PACKAGE = """
import json, sys, time
sys.modules["hf_bert4rec"] = None  # importing it raises ImportError from here on
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline, utils
utils.logging.disable_progress_bar()
folder, history = sys.argv[1], [10, 13]
remote = {"trust_remote_code": True}
ids = lambda answer: [movie["movie_id"] for movie in answer]
"""
BY_PARTS = """
parts = {"model": AutoModelForMaskedLM, "tokenizer": AutoTokenizer}
parts = {name: auto_class.from_pretrained(folder, **remote) for name, auto_class in parts.items()}
sys.stdout.write("\\n" + json.dumps(ids(pipeline("movie-recommendation", **parts)(history))))
"""
BY_NAME = """
pipe = pipeline("movie-recommendation", model=folder, **remote)
again = type(pipe)(model=pipe.model, tokenizer=pipe.tokenizer, task=pipe.task)
sys.stdout.write("\\n" + json.dumps([ids(pipe(history)), ids(again(history))]))
"""
EXPORTED = """
from transformers import AutoConfig, AutoModel
auto_classes = (AutoConfig, AutoTokenizer, AutoModel, AutoModelForMaskedLM)
classes = [type(auto_class.from_pretrained(folder, **remote)).__name__ for auto_class in auto_classes]
pipe = pipeline("movie-recommendation", model=folder, **remote)
pipe.save_pretrained("saved")
again = pipeline("movie-recommendation", model="saved", **remote)
sys.stdout.write("\\n" + json.dumps([classes, pipe(["Toy Story", 13, "16"]), again(["Toy Story", 13, "16"])]))
"""
MAPPED = """
pipe = pipeline("movie-recommendation", model=folder, **remote)
from datasets import Dataset, disable_progress_bars
from datasets.fingerprint import Hasher
disable_progress_bars()
rows = Dataset.from_dict({"history": [history, [16]], "user_id": ["ann", "bob"]})
answer = lambda row: {"answer": ids(pipe(row))}
hashes, began = [Hasher.hash(answer)], time.monotonic()
answers = [rows.map(answer)["answer"][:], rows.map(answer, num_proc=2)["answer"][:]]
hashes.append(Hasher.hash(answer))
import dill
classes = [len(dill.dumps(type(part))) for part in (pipe, pipe.model, pipe.tokenizer, pipe.model.config)]
sys.stdout.write("\\n" + json.dumps([answers, hashes, time.monotonic() - began, classes]))
"""


def run(code, folder, tmp_path):
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    output = run_python("-c", WITHOUT_THE_PACKAGE + code, str(folder), cwd=tmp_path, env=environment, timeout=120)
    return json.loads(output.rsplit("\n", 1)[-1])


@pytest.fixture
def plain(model, tokenizer, tmp_path):
    """A folder as a user of `Trainer` saves it, without the pipeline."""
    model.save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


@pytest.mark.slow
def test_model_and_tokenizer_saved_separately_make_a_pipeline(pipe, plain, tmp_path):
    expected = ids_of(pipe(HISTORY))
    assert run(BY_NAME, plain, tmp_path) == [expected, expected]
    assert run(BY_PARTS, plain, tmp_path) == expected


@pytest.mark.slow
def test_an_exported_folder_loads_without_the_package_and_answers_the_same(pipe, tmp_path):
    write_folder(pipe.model, pipe.tokenizer, tmp_path / "exported", "# A card")
    classes, answer, again = run(EXPORTED, tmp_path / "exported", tmp_path)
    assert classes == ["Bert4RecConfig", "Bert4RecTokenizer", "Bert4RecModel", "Bert4RecForMaskedLM"]
    for each in (answer, again):
        assert_same_answer(each, pipe(["Toy Story", 13, "16"]), abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}, {"pipeline_class": MovieRecommendationPipeline}])
def test_a_folder_opens_with_and_without_trust_remote_code(pipe, plain, options):
    expected = pipe(HISTORY)
    pipe.save_pretrained(plain.parent / "exported")
    for folder in (plain, plain.parent / "exported"):
        loaded = pipeline(TASK, model=str(folder), **options)
        assert isinstance(loaded, Pipeline)
        assert_same_answer(loaded(HISTORY), expected)
        by_parts = pipeline(TASK, model=loaded.model, tokenizer=loaded.tokenizer, **options)
        assert_same_answer(by_parts(HISTORY), expected)


def test_without_trust_only_code_of_the_package_runs(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    for path in tmp_path.glob("*.py"):
        path.write_text("raise SystemExit('code of the folder was run')")
    assert ids_of(pipeline(TASK, model=str(tmp_path))(HISTORY)) == ids_of(pipe(HISTORY))


def test_threads_load_concurrently(pipe, plain):
    expected = ids_of(pipe(HISTORY))
    for options in ({"pipeline_class": MovieRecommendationPipeline}, {"trust_remote_code": True}):
        pipeline(TASK, model=str(plain), **options)  # the folder's code is copied once
        with ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(pipeline, TASK, model=str(plain), **options) for _ in range(8)]
        assert [ids_of(load.result()(HISTORY)) for load in loads] == [expected] * 8


@pytest.mark.slow
def test_a_remote_code_pipeline_is_hashed_quickly_and_works_in_workers(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "exported")
    answers, hashes, seconds, class_sizes = run(MAPPED, tmp_path / "exported", tmp_path)
    expected = [ids_of(pipe(HISTORY)), ids_of(pipe([16]))]
    assert answers == [expected, expected]
    assert hashes[0] == hashes[1]  # calls in between do not change the hash
    assert seconds < 60
    assert max(class_sizes) < 300  # bytes: classes are pickled by reference


FORKED = """
import multiprocessing, sys, torch
from hf_bert4rec import Bert4RecConfig, Bert4RecForMaskedLM, Bert4RecTokenizer, MovieRecommendationPipeline
torch.set_num_threads(2)
items = list(range(100))
tokenizer = Bert4RecTokenizer.from_movies({"movie_id": items}, dict.fromkeys(items, 1))
config = Bert4RecConfig(vocab_size=103, hidden_size=256, intermediate_size=1024)
pipe = MovieRecommendationPipeline(
    model=Bert4RecForMaskedLM(config), tokenizer=tokenizer, task="movie-recommendation", top_k=5
)
histories = [items[:90] * 2] * 64  # enough for both threads
ids = [movie["movie_id"] for movie in pipe(histories)[0]]
context = multiprocessing.get_context("fork")
queue = context.Queue()
worker = context.Process(target=lambda: queue.put([movie["movie_id"] for movie in pipe(histories)[0]]), daemon=True)
worker.start()
assert queue.get(timeout=60) == ids
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_answers():
    run_python("-c", FORKED, env={**os.environ, "OMP_NUM_THREADS": "2"}, timeout=120)


@pytest.mark.parametrize("loader", [Bert4RecForMaskedLM, AutoModelForMaskedLM])
def test_an_unknown_argument_is_not_reported_as_damage(plain, loader):
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        loader.from_pretrained(plain, nonsense=1)


def test_the_task_is_registered():
    assert TASK in get_supported_tasks()
    _, targets, _ = PIPELINE_REGISTRY.check_task(TASK)
    assert targets["impl"] is MovieRecommendationPipeline
    assert targets["pt"] == (AutoModelForMaskedLM,)


def test_a_loaded_pipeline_can_be_saved_again(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "first")
    pipeline(TASK, model=str(tmp_path / "first"), trust_remote_code=True).save_pretrained(tmp_path / "second")
    again = pipeline(TASK, model=str(tmp_path / "second"), trust_remote_code=True)
    assert_same_answer(again(HISTORY), pipe(HISTORY))


def test_the_dtype_is_that_of_the_model(plain):
    assert pipeline(TASK, model=str(plain), trust_remote_code=True).dtype is torch.float32
    for dtype in (torch.bfloat16, "bfloat16"):
        half = pipeline(TASK, model=str(plain), trust_remote_code=True, dtype=dtype)
        assert half.dtype is torch.bfloat16
        assert len(half([10])) == 10


def pickled(original, by=pickle):
    return by.loads(by.dumps(original))


@pytest.mark.parametrize("copy_of", [copy.deepcopy, pickled, partial(pickled, by=dill)])
def test_copies_of_pipeline_and_model_are_the_same(pipe, copy_of):
    assert_same_answer(copy_of(pipe)(HISTORY), pipe(HISTORY))
    torch.testing.assert_close(copy_of(pipe.model).state_dict(), pipe.model.state_dict(), rtol=0, atol=0)
