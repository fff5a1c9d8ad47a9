"""Demo of a recommender in Gradio: search movies, pick some, get recommendations.

    python app.py outputs/ml-100k          # a folder
    python app.py someone/bert4rec-ml-1m   # a model on the Hub

Without an argument it loads the model named in `model.txt`, as a Space does. "name@revision" selects a branch, tag or
commit. `requirements.txt` lists what it needs.
"""

from __future__ import annotations

import re
import sys
import unicodedata
import warnings
from collections import Counter
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from transformers import pipeline

HERE = Path(__file__).resolve().parent
TOP_K = 10  # recommended movies
MATCHES = 8  # search results
EXAMPLES = 4
MAX_THREADS = 8  # more take memory without answering faster
MAX_QUERY_LENGTH = 200  # longer than any title
MIN_YEAR = 1000  # a smaller number is a year still being typed, and does not filter
ARTICLE = re.compile(r"^(.*), (The|An?)(?= \(\d{4}\)$|$)")
YEAR = re.compile(r"\s*\((\d{4})\)$")
NO_HISTORY = "Nothing picked yet. Search for a movie that you have watched, or start with an example."
FONTS = ["system-ui", "-apple-system", "sans-serif"]  # installed fonts: nothing is fetched from elsewhere


def normalize(text: str) -> str:
    """Lower-case words without accents, each after a blank: " amelie 2001"."""
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(character for character in text if not unicodedata.combining(character))
    return "".join(f" {word}" for word in re.findall(r"\w+", text.replace("'", "")))


def display_title(title: str) -> str:
    """Move the article of "Godfather, The (1972)" to the front: "The Godfather (1972)"."""
    return ARTICLE.sub(r"\2 \1", title)


class Catalogue:
    """A loaded model with its titles: search, examples and recommendations."""

    def __init__(self, model: str) -> None:
        self.name, _, revision = model.partition("@")
        self.pipe = pipeline("movie-recommendation", model=self.name, revision=revision or None, trust_remote_code=True)
        tokenizer = self.pipe.tokenizer
        self.ids = tokenizer.item_ids
        self.titles = [display_title(title) for title in tokenizer.titles or map(str, self.ids)]
        occurrences = Counter(self.titles)
        self.labels = {
            item: title if occurrences[title] == 1 else f"{title} · {item}"
            for item, title in zip(self.ids, self.titles, strict=True)
        }
        self.by_label = {label: item for item, label in self.labels.items()}
        self.genres = [names or [] for names in tokenizer.items.get("genres", [[]] * len(self.ids))]
        self.years = [year for year in tokenizer.items.get("year", []) if year is not None]
        counts = tokenizer.items.get("count", [0] * len(self.ids))
        self.by_popularity = sorted(range(len(self.ids)), key=lambda index: -counts[index])
        self.normalized = [normalize(title) for title in self.titles]

    def search(self, query: str, picks: list[Any]) -> list[Any]:
        """Ids of movies whose titles have words starting with those of the query, popular first.

        Titles that start with the query precede the others.
        """
        words = normalize(query).split()
        if not words:
            return []
        matches = [index for index in self.by_popularity if all(f" {word}" in self.normalized[index] for word in words)]
        matches.sort(key=lambda index: not self.normalized[index].startswith(normalize(query)))
        return [self.ids[index] for index in matches if self.ids[index] not in picks][:MATCHES]

    def examples(self) -> list[tuple[str, list[Any]]]:
        """Histories to start with: the most popular movies of the most frequent genres, or of the catalogue."""
        genres = Counter(name for names in self.genres for name in names).most_common(EXAMPLES)
        if not genres:
            return [("Popular", [self.ids[index] for index in self.by_popularity[:3]])]
        examples: list[tuple[str, list[Any]]] = []
        for genre, _ in genres:
            used = {item for _, items in examples for item in items}
            of_genre = [self.ids[index] for index in self.by_popularity if genre in self.genres[index]]
            examples.append((genre, [item for item in of_genre if item not in used][:3]))
        return examples

    def recommend(
        self, picks: list[Any], genres: list[str], first: int | None, last: int | None
    ) -> list[dict[str, Any]]:
        """The next movies; raises ValueError for a filter that cannot be applied."""
        options: dict[str, Any] = {"top_k": min(TOP_K, len(self.ids))}
        if genres:
            options["genres"] = genres
        if self.years:
            full_range = min(self.years), max(self.years)
            bounds = zip((first, last), full_range, strict=True)
            years = tuple(limit if year is None or year < MIN_YEAR else year for year, limit in bounds)
            if years != full_range:  # the full range would exclude movies without a year
                options["years"] = years
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the page itself says when few movies are left
            return self.pipe(picks, **options)


def cards(movies: list[dict[str, Any]], unit: str) -> str:
    """Movies as an HTML list: rank, title, year, genres, and the score with a bar relative to the best one."""
    best = max((movie["score"] for movie in movies), default=1.0)
    return f'<ol class="cards">{"".join(_card(n, movie, best, unit) for n, movie in enumerate(movies, 1))}</ol>'


def item_id(movie: dict[str, Any]) -> Any:
    """The id of an answer's movie, which comes first, under the name of the data set's column."""
    return next(iter(movie.values()))


def _card(rank: int, movie: dict[str, Any], best: float, unit: str) -> str:
    title = display_title(movie["title"] or str(item_id(movie)))
    year = match[1] if (match := YEAR.search(title)) else ""
    genres = "".join(f"<li>{escape(name)}</li>" for name in movie["genres"])
    score = f"{movie['score']:.1%}" if unit == "score" else f"{movie['score']:.2f}"
    width = 100 * max(movie["score"], 0.0) / best if best > 0 else 0
    return (
        f'<li class="card"><span class="rank">{rank}</span><div class="movie"><h3>{escape(YEAR.sub("", title))}</h3>'
        f'<span class="year">{year}</span><ul class="genres">{genres}</ul></div>'
        f'<p class="score">{unit} {score}<span class="bar"><span style="width:{width:.0f}%"></span></span></p></li>'
    )


def message(text: str, kind: str = "empty") -> str:
    """A sentence in place of a list."""
    return f'<p class="{kind}" role="status">{escape(text)}</p>'


def build(catalogue: Catalogue) -> gr.Blocks:
    """The page: the history and its filters on the left, recommendations on the right."""
    with gr.Blocks(title="Movie recommendations", analytics_enabled=False) as page:
        picks = gr.State([])
        gr.Markdown(f"# What to watch next\n{len(catalogue.ids):,} movies, model `{catalogue.name}`")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                add_search(catalogue, picks)
                watched = gr.CheckboxGroup([], label="Watched, oldest first", visible=False, elem_id="watched")
                clear = gr.Button("Start again", size="sm", visible=False, elem_id="clear")
                examples = add_examples(catalogue, picks)
                filters = add_filters(catalogue)
            with gr.Column(scale=3, min_width=300):
                answer = gr.HTML(message(NO_HISTORY), elem_id="answer", padding=False)
                like = gr.Dropdown([], label="More like", visible=False, elem_id="like")
                similar = gr.HTML(elem_id="similar", padding=False)
        watched.input(unique, watched, picks, api_name="watched")
        clear.click(list, None, picks, api_name="clear")
        picks.change(partial(show_picks, catalogue), picks, [watched, clear, examples], api_name="picks")
        changes = [picks.change, *(component.change for component in filters)]
        gr.on(changes, partial(show_answer, catalogue), [picks, *filters], [answer, like], api_name="recommend")
        like.change(partial(show_similar, catalogue), like, similar, api_name="similar")
    return page


def add_search(catalogue: Catalogue, picks: gr.State) -> None:
    """A search box, and a button per result that picks the movie."""
    search = gr.Textbox(label="Search a movie that you have watched", placeholder="toy st…", elem_id="search")
    with gr.Column(elem_id="matches"):
        buttons = [gr.Button(visible=False, size="sm", elem_classes="match") for _ in range(MATCHES)]
    hint = gr.HTML(visible=False, elem_id="hint", padding=False)
    type_ahead: Any = {"trigger_mode": "always_last", "show_progress": "hidden"}
    search.input(partial(find, catalogue), [search, picks], [hint, *buttons], api_name="search", **type_ahead)
    outputs: Any = [picks, search, hint, *buttons]
    search.submit(partial(pick_first, catalogue), [search, picks], outputs, api_name="pick_first")
    for button in buttons:
        button.click(partial(pick, catalogue), [button, picks], outputs, api_name="pick")


def add_examples(catalogue: Catalogue, picks: gr.State) -> gr.Column:
    """A button per example history."""
    with gr.Column(elem_id="examples") as column:
        gr.Markdown("Or start with an example:")
        for name, items in catalogue.examples():
            titles = ", ".join(YEAR.sub("", catalogue.labels[item]) for item in items)
            button = gr.Button(f"{name}: {titles}", size="sm")
            button.click(partial(list, items), None, picks, api_name="example")
    return column


def add_filters(catalogue: Catalogue) -> list[Any]:
    """Genres, first year and last year; hidden if the catalogue has none."""
    names = sorted({name for genres in catalogue.genres for name in genres})
    low, high = min(catalogue.years, default=0), max(catalogue.years, default=1)
    # Numbers, not sliders: while 1980 is typed a slider receives 1, 19 and 198, shows an error and loses 1980.
    year = partial(gr.Number, precision=0, visible=bool(catalogue.years), min_width=120)
    genres = partial(gr.Dropdown, names, multiselect=True, visible=bool(names), min_width=260)
    with gr.Row(elem_id="filters"):
        return [
            genres(label="Any of these genres", elem_id="genres"),
            year(low, label="From year", elem_id="first"),
            year(high, label="To year", elem_id="last"),
        ]


def unique(picks: list[Any]) -> list[Any]:
    """The picks without repetitions; a hand-made request may repeat one a hundred thousand times."""
    return list(dict.fromkeys(picks))


def find(catalogue: Catalogue, query: str | None, picks: list[Any]) -> list[Any]:
    """A button per search result, or a sentence if there is none."""
    query = (query or "")[:MAX_QUERY_LENGTH]
    items = catalogue.search(query, picks)
    hint = message(f"No other movie here has “{query.strip()}” in its title.") if query.strip() and not items else ""
    return [gr.HTML(hint, visible=bool(hint)), *_buttons([catalogue.labels[item] for item in items])]


def pick(catalogue: Catalogue, label: Any, picks: list[Any]) -> list[Any]:
    """Add the movie of this label to the picks, once, and empty the search."""
    if not isinstance(label, str) or label not in catalogue.by_label:
        raise gr.Error(f"no movie here is called {label!r:.80}: search, and pick one of the results")
    item = catalogue.by_label[label]
    return [picks if item in picks else [*picks, item], "", gr.HTML(visible=False), *_buttons([])]


def pick_first(catalogue: Catalogue, query: str | None, picks: list[Any]) -> list[Any]:
    """Add the best match to the picks; without a match nothing changes."""
    items = catalogue.search((query or "")[:MAX_QUERY_LENGTH], picks)
    return pick(catalogue, catalogue.labels[items[0]], picks) if items else [gr.skip()] * (3 + MATCHES)


def _buttons(labels: list[str]) -> list[Any]:
    return [gr.Button(label, visible=True) for label in labels] + [gr.Button(visible=False)] * (MATCHES - len(labels))


def show_picks(catalogue: Catalogue, picks: list[Any]) -> list[Any]:
    """The picks in order, numbered, in place of the examples."""
    choices = [(f"{number}. {catalogue.labels[item]}", item) for number, item in enumerate(picks, 1)]
    any_picks = bool(picks)
    watched = gr.CheckboxGroup(choices, value=picks, visible=any_picks)
    return [watched, gr.Button(visible=any_picks), gr.Column(visible=not any_picks)]


def show_answer(catalogue: Catalogue, picks: list[Any], genres: list[str], first: int, last: int) -> list[Any]:
    """Recommendations as cards, or why there are none; and the choices of "More like"."""
    if not picks:
        return [message(NO_HISTORY), gr.Dropdown([], value=None, visible=False)]
    try:
        movies = catalogue.recommend(picks, genres, first, last)
    except (ValueError, TypeError) as error:
        return [message(str(error), "error"), gr.skip()]
    few = "" if len(movies) == TOP_K else message(f"{len(movies) or 'No'} movies left: widen the filters for more.")
    items = dict.fromkeys([*picks, *map(item_id, movies)])
    choices = [(catalogue.labels[item], item) for item in items]
    return [cards(movies, "score") + few, gr.Dropdown(choices, visible=True)]


def show_similar(catalogue: Catalogue, item: Any) -> str:
    """Movies with similar embeddings."""
    if item is None:
        return ""
    try:
        return cards(catalogue.pipe.similar(item, top_k=6), "similarity")
    except (ValueError, TypeError, LookupError) as error:
        return message(str(error), "error")


def main() -> None:
    """Load the model and serve the page."""
    model_file = HERE / "model.txt"
    if len(sys.argv) != 2 and not model_file.is_file():
        sys.exit("usage: python app.py FOLDER_OR_NAME, a trained model or its name on the Hub")
    model = sys.argv[1] if len(sys.argv) == 2 else model_file.read_text(encoding="utf-8").strip()
    try:
        catalogue = Catalogue(model)
    except Exception as error:  # transformers raises a different type for each kind of damage
        sys.exit(
            f"{model} cannot be loaded: give a folder with a trained model or a name on the Hub\n"
            f"{type(error).__name__}: {error}"
        )
    theme = gr.themes.Default(font=FONTS, font_mono=["monospace"], primary_hue="indigo")
    # Gradio's default limit is one user per event: requests would wait for each other.
    page = build(catalogue).queue(default_concurrency_limit=None)
    appearance: Any = {"theme": theme, "css_paths": HERE / "style.css", "footer_links": []}
    page.launch(**appearance, ssr_mode=False, show_error=True, max_threads=MAX_THREADS)


if __name__ == "__main__":
    main()
