"""The model card: its metadata, every number in it, and its snippets, which are executed."""

import ast
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hf_bert4rec import Bert4RecTokenizer
from hf_bert4rec.data.releases import RELEASES
from hf_bert4rec.evaluation.plots import draw_curve
from hf_bert4rec.files import write_json
from hf_bert4rec.hub.card import escape_markdown, render_card, update_card
from hf_bert4rec.hub.folder import has_own_titles
from hf_bert4rec.hub.records import read_evaluation, release_of, without_titles
from hf_bert4rec.hub.staging import stage_model
from hf_bert4rec.model.versions_bert4rec import MINIMUM_VERSIONS
from tests.published import read

SECTIONS = [
    "How to use",
    "Intended use",
    "Training data",
    "Architecture",
    "Training procedure",
    "Evaluation",
    "Limitations",
    "Files",
    "Reproducibility",
    "Framework versions",
    "Citation",
]
PNG = b"\x89PNG"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def records(model_folder) -> tuple[dict, dict]:
    return read(model_folder / "training.json"), read(model_folder / "evaluation.json")


def snippets(text: str) -> list[str]:
    """The Python blocks of a text."""
    return [code for language, code in FENCED.findall(text) if language == "python"]


def sections(card: str) -> dict[str, str]:
    """The text of every section by its heading."""
    parts = re.split(r"^## (.*)$", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def test_metadata_holds_the_figures_of_the_result_file(model_folder, records):
    data = ModelCard.load(model_folder / "README.md").data
    assert data.library_name == "transformers"
    assert {"recommendation", "sequential-recommendation", "bert4rec", "movielens"} <= set(data.tags)
    assert (data.license, data.license_name) == ("other", "movielens-terms-of-use")
    assert (data.datasets, data.metrics) == (["ml-latest-small"], ["ndcg", "hit_rate", "mrr"])
    values = {result.metric_type: result.metric_value for result in data.eval_results}
    assert values == {name: round(records[1]["metrics"][name]["mean"], 6) for name in ("ndcg@10", "hit_rate@10", "mrr")}
    assert {result.dataset_split for result in data.eval_results} == {"test"}


def test_every_section_has_content(model_folder):
    card = (model_folder / "README.md").read_text(encoding="utf-8")
    texts = sections(card)
    assert list(texts) == SECTIONS
    assert all(len(text) > 60 for text in texts.values())
    for hole in ("None |", "nan", "$", "{", "  |  ", "()"):
        assert hole not in FENCED.sub("", card), f"the card has a hole: {hole!r}"


def test_every_plot_of_the_card_exists(model_folder):
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (model_folder / "README.md").read_text(encoding="utf-8"))
    assert len(pictures) == 5
    for picture in pictures:
        assert (model_folder / picture).read_bytes().startswith(PNG), picture


def numbers(value: Any) -> Iterator[float]:
    """Every number of a record, however deep."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def test_every_number_is_in_a_result_file(model_folder, records):
    training, evaluation = records
    known = [*numbers(training), *numbers(evaluation), *map(len, evaluation["popularity"].values())]
    known += [sum(shares[5:]) for shares in evaluation["popularity"].values()]
    known += [len(example["history"]) for example in evaluation["examples"]]
    written = {f"{each:{form}}" for each in known for form in (".4f", "+.4f", ".1%", ".0%", ",", "g", ",.0f")}
    texts = sections((model_folder / "README.md").read_text(encoding="utf-8"))
    for name in ("Training data", "Architecture", "Training procedure", "Evaluation", "Limitations"):
        text = re.sub(r"> .*|!\[.*|`[^`]*`|\[\[?[^\]]*\]\([^)]*\)|\*\*Licence.*|\S*sha256\S*", "", texts[name])
        text = re.sub(r"MovieLens is not a log of watching.*", "", text)  # facts of the site, not of a result file
        text = re.sub(r"@(\d+)", r" \1 ", text)
        assert len(re.findall(r"\d", text)) > 3, name
        for number in re.findall(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?%?", text):
            assert number.rstrip(",") in written, f"{number} of section {name} is in no result file"


def test_the_table_says_what_the_file_says(model_folder, records):
    text = sections((model_folder / "README.md").read_text(encoding="utf-8"))["Evaluation"]
    metrics, baselines = records[1]["metrics"], records[1]["baselines"]
    for spoken, name in (("NDCG@10", "ndcg@10"), ("HitRate@20", "hit_rate@20"), ("MRR", "mrr")):
        theirs = " | ".join(f"{baseline['metrics'][name]['mean']:.4f}" for baseline in baselines.values())
        ours = metrics[name]
        row = f"| {spoken} | **{ours['mean']:.4f}** | {ours['low']:.4f} to {ours['high']:.4f} | {theirs} |"
        assert row in text
    for name, baseline in baselines.items():
        difference = baseline["difference"]["ndcg@10"]
        verdict = "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "not clearly different"
        label = {"item_knn": "item-kNN", "markov": "Markov"}.get(name, name)
        assert re.search(
            rf"\*\*{verdict} (than|from) {label}\*\* \({re.escape(format(difference['mean'], '+.4f'))}", text
        )


def test_sampled_figures_are_separate(model_folder, records):
    text = sections((model_folder / "README.md").read_text(encoding="utf-8"))["Evaluation"]
    before, after = text.split("**Sampled candidates.**")
    for figures in records[1]["sampled"].values():
        assert f"| this model | {figures['model']['ndcg@10']['mean']:.4f} |" in after
    assert "drawn by popularity" not in before


def run_snippet(code: str) -> Any:
    """The value of the last line of a snippet."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(tree, "card", "exec"), names)
    return eval(compile(ast.Expression(last.value), "card", "eval"), names)


def assert_same_answer(answer: list[dict], expected: list[dict]) -> None:
    assert [{**movie, "score": None} for movie in answer] == [{**movie, "score": None} for movie in expected]
    assert [movie["score"] for movie in answer] == pytest.approx([movie["score"] for movie in expected], rel=1e-3)


def test_the_first_snippet_gives_the_printed_answer(model_folder, records):
    card = render_card(*records, name=str(model_folder), titles=True)
    code, answer = snippets(sections(card)["How to use"])
    assert_same_answer(run_snippet(code), ast.literal_eval(answer))


def test_without_titles_the_card_names_none(model_folder, records):
    training, evaluation = without_titles(records[0]), {**records[1], "examples": []}
    card = render_card(training, evaluation, name=str(model_folder), titles=False)
    for title in ("Toy Story", "Godfather", "Casablanca", "Movie 7"):
        assert title not in card
    assert "Titles and genres are not part of it." in sections(card)["Training data"]
    code, answer, naming = snippets(sections(card)["How to use"])
    answers = [{**movie, "title": None, "genres": []} for movie in run_snippet(code)]
    assert_same_answer(answers, ast.literal_eval(answer))
    assert 'load_movielens("ml-latest-small")["movies"]' in naming


def test_the_citation_is_bibtex(records):
    entries = [code for language, code in FENCED.findall(render_card(records[0], titles=True)) if language == "bibtex"]
    assert [entry.split("{")[0] for entry in entries] == ["@inproceedings", "@article"]
    for entry in entries:
        assert entry.count("{") == entry.count("}")
        assert {"title", "author", "year", "doi"} <= set(re.findall(r"^  (\w+) ", entry, re.MULTILINE))


def test_a_model_that_was_not_evaluated_says_so(records):
    card = render_card(records[0], titles=True)
    texts = sections(card)
    assert texts["Evaluation"].startswith("Not evaluated yet")
    assert not {"model-index", "metrics"} & ModelCard(card).data.to_dict().keys()
    assert "MovieLens is not a log of watching" in texts["Limitations"]


def test_a_custom_table_is_not_movielens(records):
    training = {**records[0], "dataset": "shop", "options": {**records[0]["options"], "ratings": "shop.csv"}}
    card = render_card(training, records[1], titles=False)
    assert release_of(training) is release_of({**training, "dataset": "ml-1m"}) is None
    assert release_of({**records[0], "dataset": "ml-1m.txt"}) is RELEASES["ml-1m"]
    assert "movielens" not in card.lower()
    assert "license" not in card.split("---")[1]
    text = FENCED.sub("", card).split("## Files")[0].replace("movie_id", "")
    assert "movie" not in re.sub(r"> .*", "", text).lower()  # quoted examples name the titles of the table
    assert "The last item of every user is held out for testing" in text


def test_a_card_names_what_the_model_learns_from(records):
    options = {**records[0]["options"], "time_aware": True, "event_column": "kind", "target_events": ["buy"]}
    text = sections(render_card({**records[0], "options": options}, titles=True))["Intended use"]
    assert "the order of movies in the training data, their times, their event types" in " ".join(text.split())


def test_ids_that_serve_as_titles_are_not_titles():
    assert not has_own_titles(Bert4RecTokenizer.from_movies({"movie_id": [7, 8], "title": ["7", "8"]}))
    assert not has_own_titles(Bert4RecTokenizer.from_movies({"movie_id": [7, 8], "genres": [["Drama"], []]}))
    assert has_own_titles(Bert4RecTokenizer.from_movies({"movie_id": [7, 8], "title": ["7", "Heat"]}))


def test_the_order_of_histories_follows_the_time_column(records):
    training = {**records[0], "options": {**records[0]["options"], "time_column": ""}}
    assert "Histories are in the order of the source." in render_card(training, titles=True)
    assert "Histories are ordered by time, ties by the order of the source." in render_card(records[0], titles=True)


def test_a_card_names_the_event_types_that_are_held_out(records):
    options = {**records[0]["options"], "event_column": "kind", "target_events": ["buy", "rent"]}
    text = sections(render_card({**records[0], "options": options}, titles=True))["Training data"]
    assert "a test history includes the\nlatter. Only events of the type buy or rent are held out.\n" in text
    assert "Only events" not in render_card(records[0], titles=True)


def test_a_model_of_taste_learns_from_ratings(records):
    def text(taste_size: int) -> str:
        options = {**records[0]["options"], "taste_size": taste_size, "liked_rating": 3.5}
        texts = sections(render_card({**records[0], "options": options}, titles=True))
        return " ".join(f"{texts['Intended use']} {texts['Training data']}".split())

    with_taste, without = text(8), text(0)
    assert "its model of taste, from their ratings, genres, years and titles, where there are any, not" in with_taste
    assert "For the model of taste, those rated below 3.5 count less" in with_taste
    assert "taste" not in without
    assert "only from the order of movies in the training data, not from age ratings" in without


def test_versions_come_before_the_first_snippet(records):
    usage = sections(render_card(records[0], titles=True))["How to use"]
    install, first, *_ = FENCED.findall(usage)
    assert install[0] == "bash"
    assert first[1].startswith("from transformers import pipeline")
    torch, transformers = (".".join(map(str, MINIMUM_VERSIONS[name])) for name in ("torch", "transformers"))
    assert install[1] == f'pip install "torch>={torch}" "transformers>={transformers},<6"\n'


def test_versions_and_dates_of_both_runs_are_listed(records):
    text = sections(render_card(*records, titles=True))["Framework versions"]
    runs = [record["environment"] for record in records]
    assert f"| date | {' | '.join(run['date'][:10] for run in runs)} |" in text
    assert f"| torch | {' | '.join(run['versions']['torch'] for run in runs)} |" in text


def test_every_published_file_has_its_role_in_the_card(model_folder, tmp_path):
    staged = tmp_path / "staged"
    stage_model(model_folder, staged, "someone/small")
    text = sections((staged / "README.md").read_text(encoding="utf-8"))["Files"]
    rows = [line.split(" | ") for line in text.splitlines()[2:]]
    assert all(content.removesuffix(" |") for _, content in rows)
    listed = {name.rstrip("/") for cell, _ in rows for name in re.findall("`([^`]+)`", cell)}
    published = {path.relative_to(staged).parts[0] for path in staged.rglob("*") if path.is_file()}
    assert listed == published - {"README.md"}


def test_an_evaluation_of_another_model_is_refused(model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    report = read(folder / "evaluation.json")
    report["model"]["weights_sha256"] = "0" * 64
    write_json(folder / "evaluation.json", report)
    before = (folder / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"is the evaluation of another model.*hf-bert4rec evaluate"):
        update_card(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == before
    (folder / "evaluation.json").unlink()
    assert read_evaluation(folder) is None


def test_any_learning_curve_is_drawn(records):
    for curve in (records[0]["curve"], [], records[0]["curve"][:1]):
        assert draw_curve({**records[0], "curve": curve}).startswith(PNG)
    assert draw_curve({**records[0], "dataset": r"$\bad$"}).startswith(PNG)  # not a formula of matplotlib


@pytest.mark.parametrize(
    ("title", "escaped"),
    [
        ("Amélie (2001)", "Amélie (2001)"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[click](http://x) | `code` *b* _i_", r"\[click\](http://x) \| \`code\` \*b\* \_i\_"),
        ("one\n# two\x00\u202e", r"one \# two  "),
        (7, "7"),
    ],
)
def test_markup_is_escaped(title, escaped):
    assert escape_markdown(title) == escaped


def test_a_card_escapes_the_titles_of_its_examples(model_folder):
    evaluation = read(model_folder / "evaluation.json")
    for movie in evaluation["examples"][0]["recommended"]:
        movie["title"] = "<img src=x onerror=alert(1)> | [a](javascript:b)"
    card = render_card(read(model_folder / "training.json"), evaluation, titles=True)
    assert "<img" not in card
    assert "[a](" not in card.replace("\\[a\\](", "")
    assert "&lt;img src=x onerror=alert(1)&gt;" in card
