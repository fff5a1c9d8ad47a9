"""Thirty short histories as people type them, and the first answers to each by both goals, as a page of the docs.

    python -m benchmarks.quality.typed_histories outputs/ml-100k outputs/ml-latest-small

Writes `docs/typed_histories.md`. A title that a catalogue lacks is left out, and a history of which none is left.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, script_parser
from hf_bert4rec import AmbiguousTitleError, UnknownTitleError
from hf_bert4rec.hub.folder import load_pipeline

PAGE = ROOT / "docs" / "typed_histories.md"
ANSWERS, POPULAR = 5, 20
REQUESTS: dict[str, dict[str, Any]] = {  # by heading
    'goal="next"': {"goal": "next"},
    'goal="taste"': {"goal": "taste"},
    'goal="taste", popularity_penalty=0.2': {"goal": "taste", "popularity_penalty": 0.2},
}
INTRODUCTION = f"""# Typed histories

Thirty short histories and the first {ANSWERS} answers of the network, of taste, and of taste with a larger penalty for
popular movies ([usage](usage.md#goals-taste-and-next)). Titles that a release lacks are left out, and histories without
any other. Written by `benchmarks/quality/typed_histories.py`.

The network stays with genre and time of the history (Disney, Star Trek, horror). Taste leads to well-known movies that
people who like the history also like; after a single movie, the third and fifth answer are similar ones. The larger
penalty brings forward similar ones for every history (from "Before Sunrise" to "Three Colors"). For
[new users](evaluation.md#new-users-and-related-items), taste without it is best. The last row of each table has
the share of the {POPULAR} most popular movies."""
# Titles separated by ";", other names of the same movie by "|".
HISTORIES = (
    "Star Wars|Star Wars: Episode IV - A New Hope; Return of the Jedi|Star Wars: Episode VI - Return of the Jedi",
    "Toy Story; Aladdin (1992); The Lion King",
    "Alien; Aliens; The Terminator",
    "Sense and Sensibility; Emma (1996)",
    "Vertigo; Rear Window; North by Northwest",
    "The Wrong Trousers|Wallace & Gromit: The Wrong Trousers; A Close Shave|Wallace & Gromit: A Close Shave",
    "Pulp Fiction; Reservoir Dogs; Fargo",
    "The Godfather; GoodFellas",
    "Before Sunrise",
    "Trainspotting; Clerks",
    "Blade Runner; 2001: A Space Odyssey",
    "Monty Python and the Holy Grail; A Fish Called Wanda",
    "Casablanca; Citizen Kane",
    "The Silence of the Lambs; Seven|Seven (a.k.a. Se7en)",
    "When Harry Met Sally...; Sleepless in Seattle",
    "Schindler's List; Braveheart",
    "Mary Poppins; The Sound of Music",
    "Snow White and the Seven Dwarfs; Cinderella; Pinocchio",
    "Die Hard; Speed (1994)",
    "Star Trek: The Wrath of Khan|Star Trek II: The Wrath of Khan; Star Trek: First Contact",
    "Batman (1989); Batman Returns",
    "Scream (1996); A Nightmare on Elm Street",
    "Dances with Wolves; Unforgiven (1992)",
    "Babe",
    "Il Postino|Postino, Il|The Postman; Cinema Paradiso|Cinema Paradiso (Nuovo cinema Paradiso)",
    "Ace Ventura: Pet Detective; Dumb & Dumber|Dumb & Dumber (Dumb and Dumber)",
    "Groundhog Day",
    "Eternal Sunshine of the Spotless Mind; Lost in Translation",
    "The Lord of the Rings: The Fellowship of the Ring|Lord of the Rings: The Fellowship of the Ring, The; "
    "Harry Potter and the Sorcerer's Stone|Harry Potter and the Sorcerer's Stone (a.k.a. Harry Potter and the "
    "Philosopher's Stone)",
    "Spirited Away|Spirited Away (Sen to Chihiro no kamikakushi); My Neighbor Totoro|My Neighbor Totoro (Tonari no "
    "Totoro)",
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="exported recommenders with a model of taste")
    parser.add_argument("--output", type=Path, default=PAGE)
    arguments = parser.parse_args(argv)
    lines = [INTRODUCTION]
    for folder in arguments.folders:
        lines += ["", f"## {folder.name}", "", table(answer_rows(load_pipeline(folder)))]
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {arguments.output}")


def answer_rows(pipe: Any) -> list[list[str]]:
    """A row for every history with a title of the catalogue, between a header and the shares of popular answers."""
    rows = [["history", *REQUESTS]]
    counts = np.array(pipe.tokenizer.items["count"])
    popular = {pipe.tokenizer.item_ids[position] for position in np.argsort(-counts, kind="stable")[:POPULAR]}
    listed = []  # for every history, how many of each request's answers are popular
    for text in HISTORIES:
        items = (find(pipe.tokenizer, names.strip().split("|")) for names in text.split(";"))
        history = [item for item in items if item is not None]
        if history:
            movies = [pipe.tokenizer.movie(item) for item in pipe.tokenizer.encode_items(history)]
            answers = [pipe(history, top_k=ANSWERS, **options) for options in REQUESTS.values()]
            rows.append([titles(each) for each in (movies, *answers)])
            listed.append([sum(movie["movie_id"] in popular for movie in each) for each in answers])
    shares = np.mean(listed, axis=0) / ANSWERS
    return [*rows, [f"answers among the {POPULAR} most popular movies", *(f"{share:.0%}" for share in shares)]]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table, all columns to the left."""
    header, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *body))


def find(tokenizer: Any, names: Sequence[str]) -> Any:
    """The id of the first of these names that one movie of the catalogue has; None without any."""
    for name in names:
        try:
            return tokenizer.find(name)
        except (UnknownTitleError, AmbiguousTitleError):
            continue
    return None


def titles(movies: Sequence[dict[str, Any]]) -> str:
    """Titles without years and aliases, separated by semicolons."""
    return "; ".join(movie["title"].split(" (")[0].replace("|", "\\|") for movie in movies)


if __name__ == "__main__":
    main()
