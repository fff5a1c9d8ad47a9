"""The tour runs from start to end on a small model."""

import html
import re

import pytest
from transformers import pipeline

from examples import tour
from hf_bert4rec import MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK

pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_the_tour_runs_every_step_and_leaves_the_folder_unchanged(model_folder, tmp_path):
    before = {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()}
    tour.main([str(model_folder), "--output", str(tmp_path / "tour.html")])
    page = (tmp_path / "tour.html").read_text(encoding="utf-8")
    assert re.findall(r'<h2 id="\d+">([^<]*)</h2>', page) == list(tour.STEPS)
    assert page.count("data:image/png;base64,") == 2
    assert page.count('<pre class="output">') == len(tour.STEPS)
    assert "years=(1800, 1801) leaves none" in page
    assert "return pipe.similar(context.history[0], top_k=5)" in page
    pipe = pipeline(TASK, model=str(model_folder), pipeline_class=MovieRecommendationPipeline)  # without a memory
    history = tour.load_context(model_folder).history
    titles = [movie["title"] for movie in pipe(history, top_k=5, exclude_seen=False)]
    assert "\n".join(titles) in html.unescape(page)
    assert {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()} == before
