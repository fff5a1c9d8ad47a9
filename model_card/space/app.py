"""A page to try a recommender on: search movies, pick some, see what comes next.

    python app.py outputs/ml-100k          # a folder
    python app.py someone/bert4rec-ml-1m   # a model on the Hub

Without a name it shows the model that `model.txt` beside it names, as a Space does; "name@revision" is a branch, tag or
commit of it. Needs what `requirements.txt` lists.
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
SHOWN = 10  # movies recommended
MATCHES = 8  # movies that a search shows
EXAMPLES = 4
THREADS = 8  # that answer at once; more take memory and win no time
LONGEST = 200  # letters of a search; no title is longer
WHOLE_YEAR = 1000  # a smaller number is a year that is still being typed, and filters nothing
ARTICLE = re.compile(r"^(.*), (The|An?)(?= \(\d{4}\)$|$)")
YEAR = re.compile(r"\s*\((\d{4})\)$")
NOTHING_PICKED = "Nothing picked yet. Search for a movie that you have watched, or begin with an example."
FONTS = ["system-ui", "-apple-system", "sans-serif"]  # of the device: nothing is fetched from elsewhere


def plain(text: str) -> str:
    """Words in lower case without accents, each after a blank: " amelie 2001"."""
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(character for character in text if not unicodedata.combining(character))
    return "".join(f" {word}" for word in re.findall(r"\w+", text.replace("'", "")))


def natural(title: str) -> str:
    """ "Godfather, The (1972)" as people say it: "The Godfather (1972)"."""
    return ARTICLE.sub(r"\2 \1", title)


class Catalogue:
    """What the page asks of a model: titles to search, lists to show, always as text or HTML."""

    def __init__(self, model: str) -> None:
        name, _, revision = model.partition("@")
        self.pipe = pipeline("movie-recommendation", model=name, revision=revision or None, trust_remote_code=True)
        tokenizer = self.pipe.tokenizer
        self.name, self.ids = name, tokenizer.item_ids
        self.titles = [natural(title) for title in tokenizer.titles or map(str, self.ids)]
        often = Counter(self.titles)
        named = zip(self.ids, self.titles, strict=True)
        self.labels = {item: title if often[title] == 1 else f"{title} · {item}" for item, title in named}
        self.by_label = {label: item for item, label in self.labels.items()}
        self.genres = [names or [] for names in tokenizer.items.get("genres", [[]] * len(self.ids))]
        self.years = [year for year in tokenizer.items.get("year", []) if year is not None]
        counts = tokenizer.items.get("count", [0] * len(self.ids))
        self.by_popularity = sorted(range(len(self.ids)), key=lambda place: -counts[place])
        self.searched = [plain(title) for title in self.titles]

    def search(self, query: str, picks: list[Any]) -> list[Any]:
        """Ids of movies in whose title words begin as those of the query do; whole beginnings first, then popular."""
        words = plain(query).split()
        if not words:
            return []
        found = [place for place in self.by_popularity if all(f" {word}" in self.searched[place] for word in words)]
        found.sort(key=lambda place: not self.searched[place].startswith(plain(query)))
        return [self.ids[place] for place in found if self.ids[place] not in picks][:MATCHES]

    def examples(self) -> list[tuple[str, list[Any]]]:
        """A few histories to begin with: the most watched movies of the commonest genres, or of all."""
        commonest = [name for name, _ in Counter(name for names in self.genres for name in names).most_common(EXAMPLES)]
        if not commonest:
            return [("Popular", [self.ids[place] for place in self.by_popularity[:3]])]
        found: list[tuple[str, list[Any]]] = []
        for name in commonest:
            taken = {item for _, items in found for item in items}
            rest = [self.ids[place] for place in self.by_popularity if name in self.genres[place]]
            found.append((name, [item for item in rest if item not in taken][:3]))
        return found

    def recommend(
        self, picks: list[Any], genres: list[str], first: int | None, last: int | None
    ) -> list[dict[str, Any]]:
        """The next movies; ValueError says in words what is wrong with a filter."""
        options: dict[str, Any] = {"top_k": min(SHOWN, len(self.ids))}
        if genres:
            options["genres"] = genres
        if self.years:
            every = min(self.years), max(self.years)
            asked = zip((first, last), every, strict=True)
            years = tuple(end if year is None or year < WHOLE_YEAR else year for year, end in asked)
            if years != every:  # else movies without a year count too
                options["years"] = years
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of too few movies the page tells itself
            return self.pipe(picks, **options)


def cards(movies: list[dict[str, Any]], unit: str) -> str:
    """Movies as a list of cards: place, title, year, genres, and the score with a bar beside the best one's."""
    best = max((movie["score"] for movie in movies), default=1.0)
    return f'<ol class="cards">{"".join(_card(n, movie, best, unit) for n, movie in enumerate(movies, 1))}</ol>'


def _card(place: int, movie: dict[str, Any], best: float, unit: str) -> str:
    title = natural(movie["title"] or str(movie["movie_id"]))
    found = YEAR.search(title)
    year = found[1] if found else ""
    genres = "".join(f"<li>{escape(name)}</li>" for name in movie["genres"])
    score = f"{movie['score']:.1%}" if unit == "score" else f"{movie['score']:.2f}"
    width = 100 * max(movie["score"], 0.0) / best if best > 0 else 0
    return (
        f'<li class="card"><span class="place">{place}</span><div><h3>{escape(YEAR.sub("", title))}</h3>'
        f'<p class="year">{year}</p><ul class="genres">{genres}</ul>'
        f'<p class="score"><span class="bar" style="width:{width:.0f}%"></span>{unit} {score}</p></div></li>'
    )


def words(text: str, kind: str = "empty") -> str:
    """A sentence where a list would stand."""
    return f'<p class="{kind}" role="status">{escape(text)}</p>'


def build(catalogue: Catalogue) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="Movie recommendations", analytics_enabled=False) as page:
        picks = gr.State([])
        gr.Markdown(f"# What to watch next\n{len(catalogue.ids):,} movies, model `{catalogue.name}`")
        add_search(catalogue, picks)
        add_examples(catalogue, picks)
        label = "Watched, oldest first; untick to take out"
        watched = gr.CheckboxGroup([], label=label, visible=False, elem_id="watched")
        clear = gr.Button("Start again", size="sm", visible=False, elem_id="clear")
        filters = add_filters(catalogue)
        gr.Markdown("## Recommended")
        answer = gr.HTML(words(NOTHING_PICKED), elem_id="answer")
        like = gr.Dropdown([], label="More like", visible=False, elem_id="like")
        alike = gr.HTML(elem_id="alike")
        watched.input(each_once, watched, picks, api_name="watched")
        clear.click(list, None, picks, api_name="clear")
        picks.change(partial(show_picks, catalogue), picks, [watched, clear], api_name="picks")
        changes = [picks.change, *(each.change for each in filters)]
        gr.on(changes, partial(show_answer, catalogue), [picks, *filters], [answer, like], api_name="recommend")
        like.change(partial(show_alike, catalogue), like, alike, api_name="similar")
    return page


def add_search(catalogue: Catalogue, picks: gr.State) -> None:
    """A box to type in, and a button for each movie that it finds; a button picks the movie whose name it shows."""
    search = gr.Textbox(label="Search a movie that you have watched", placeholder="toy st…", elem_id="search")
    with gr.Column(elem_id="matches"):
        buttons = [gr.Button(visible=False, size="sm", elem_classes="match") for _ in range(MATCHES)]
    hint = gr.HTML(visible=False, elem_id="hint")
    type_ahead: Any = {"trigger_mode": "always_last", "show_progress": "hidden"}
    search.input(partial(find, catalogue), [search, picks], [hint, *buttons], api_name="search", **type_ahead)
    picked: Any = [picks, search, hint, *buttons]
    search.submit(partial(pick_first, catalogue), [search, picks], picked, api_name="pick_first")
    for button in buttons:
        button.click(partial(pick, catalogue), [button, picks], picked, api_name="pick")


def add_examples(catalogue: Catalogue, picks: gr.State) -> None:
    """A row of histories to begin with."""
    gr.Markdown("Or begin with an example:")
    with gr.Row(elem_id="examples"):
        for name, items in catalogue.examples():
            told = "; ".join(YEAR.sub("", catalogue.labels[item]) for item in items)
            gr.Button(f"{name}: {told}", size="sm", min_width=240).click(
                partial(list, items), None, picks, api_name="example"
            )


def add_filters(catalogue: Catalogue) -> list[Any]:
    """Genres, first year, last year; those hidden that the catalogue knows nothing of."""
    names = sorted({name for genres in catalogue.genres for name in genres})
    low, high = min(catalogue.years, default=0), max(catalogue.years, default=1)
    # Not sliders: theirs answer the 1, 19 and 198 that a page sends while 1980 is typed with an error, and lose 1980.
    year = partial(gr.Number, precision=0, visible=bool(catalogue.years), min_width=120)
    genres = partial(gr.Dropdown, names, multiselect=True, visible=bool(names), min_width=260)
    with gr.Row(elem_id="filters"):
        return [
            genres(label="Any of these genres", elem_id="genres"),
            year(low, label=f"From year ({low} or later)", elem_id="first"),
            year(high, label=f"To year ({high} or earlier)", elem_id="last"),
        ]


def each_once(kept: list[Any]) -> list[Any]:
    """The picks that are still ticked; a stranger's page may send one of them a hundred thousand times."""
    return list(dict.fromkeys(kept))


def find(catalogue: Catalogue, query: str | None, picks: list[Any]) -> list[Any]:
    """What typing shows: a sentence where there is no match, and a button for each that there is."""
    query = (query or "")[:LONGEST]
    found = catalogue.search(query, picks)
    told = words(f"No other movie here has “{query.strip()}” in its title.") if query.strip() and not found else ""
    return [gr.HTML(told, visible=bool(told)), *_buttons([catalogue.labels[item] for item in found])]


def pick(catalogue: Catalogue, label: Any, picks: list[Any]) -> list[Any]:
    """Add the movie of this label to the picks, once, and empty the search."""
    if not isinstance(label, str) or label not in catalogue.by_label:
        raise gr.Error(f"no movie here is called {label!r:.80}: search for one, and pick it from what is found")
    item = catalogue.by_label[label]
    return [picks if item in picks else [*picks, item], "", gr.HTML(visible=False), *_buttons([])]


def pick_first(catalogue: Catalogue, query: str | None, picks: list[Any]) -> list[Any]:
    """Add the best match to the picks; where there is none all stays."""
    found = catalogue.search((query or "")[:LONGEST], picks)
    return pick(catalogue, catalogue.labels[found[0]], picks) if found else [gr.skip()] * (3 + MATCHES)


def _buttons(labels: list[str]) -> list[Any]:
    return [gr.Button(label, visible=True) for label in labels] + [gr.Button(visible=False)] * (MATCHES - len(labels))


def show_picks(catalogue: Catalogue, picks: list[Any]) -> list[Any]:
    """The picks in their order, numbered."""
    choices = [(f"{number}. {catalogue.labels[item]}", item) for number, item in enumerate(picks, 1)]
    return [gr.CheckboxGroup(choices, value=picks, visible=bool(picks)), gr.Button(visible=bool(picks))]


def show_answer(catalogue: Catalogue, picks: list[Any], genres: list[str], first: int, last: int) -> list[Any]:
    """Recommendations as cards, or why there are none; and the movies that others can be like."""
    if not picks:
        return [words(NOTHING_PICKED), gr.Dropdown([], value=None, visible=False)]
    try:
        movies = catalogue.recommend(picks, genres, first, last)
    except (ValueError, TypeError) as error:
        return [words(str(error), "error"), gr.skip()]
    told = "" if len(movies) == SHOWN else words(f"{len(movies) or 'No'} movies left: widen the filters for more.")
    near = dict.fromkeys([*picks, *(movie["movie_id"] for movie in movies)])
    return [cards(movies, "score") + told, gr.Dropdown([(catalogue.labels[i], i) for i in near], visible=True)]


def show_alike(catalogue: Catalogue, item: Any) -> str:
    """Movies that the model takes for alike."""
    if item is None:
        return ""
    try:
        return cards(catalogue.pipe.similar(item, top_k=6), "likeness")
    except (ValueError, TypeError, LookupError) as error:
        return words(str(error), "error")


def main() -> None:
    """Load the model and serve the page."""
    named = HERE / "model.txt"
    if len(sys.argv) != 2 and not named.is_file():
        sys.exit("which model? python app.py FOLDER_OR_NAME; a folder comes from training/train.py")
    model = sys.argv[1] if len(sys.argv) == 2 else named.read_text(encoding="utf-8").strip()
    try:
        catalogue = Catalogue(model)
    except Exception as error:  # transformers has one of its own for each way in which a file can be odd
        told = f"{type(error).__name__}: {error}"
        sys.exit(f"{model} cannot be loaded: give a folder with a trained model or a name on the Hub\n{told}")
    theme = gr.themes.Default(font=FONTS, font_mono=["monospace"])
    # Gradio lets one person at a time do a thing: many who picked movies waited for each other, others for nobody.
    page = build(catalogue).queue(default_concurrency_limit=None)
    look: Any = {"theme": theme, "css_paths": HERE / "style.css", "footer_links": []}
    page.launch(**look, ssr_mode=False, show_error=True, max_threads=THREADS)


if __name__ == "__main__":
    main()
