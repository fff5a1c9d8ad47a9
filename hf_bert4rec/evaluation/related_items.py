"""Whether one movie leads to related ones: the others of its series, director or studio.

Groups come from a short list (`CURATED`) and from titles (the same words before a colon, a numeral or "Part"). For
every movie of a group, the history is that movie only, and the value is the share of its related movies among the first
ten. Values are averaged within a group; intervals are over groups. The listed groups have figures of their own, as
similar movies are found by the words of their titles too.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..data.prepared import PreparedData
from ..data.ragged import FloatArray, Ragged
from ..model.ranking_bert4rec import ItemEmbeddings
from .baselines import fit_taste_baselines
from .bootstrap import FEW_USERS
from .config import EvaluationConfig
from .ranking import Scorer
from .scoring import compare_scorers

logger = logging.getLogger(__name__)

# Titles without year, article and aliases. Of movies that share a title, the first of the catalogue counts.
CURATED = (
    "Star Wars; Star Wars: Episode IV - A New Hope; Empire Strikes Back; Return of the Jedi; "
    "Star Wars: Episode V - The Empire Strikes Back; Star Wars: Episode VI - Return of the Jedi",
    "Raiders of the Lost Ark; Indiana Jones and the Temple of Doom; Indiana Jones and the Last Crusade",
    "Alien; Aliens; Alien 3; Alien³; Alien: Resurrection",
    "Batman; Batman Returns; Batman Forever; Batman & Robin",
    "Batman Begins; Dark Knight; Dark Knight Rises",
    "Jurassic Park; Lost World: Jurassic Park; Jurassic Park III",
    "Matrix; Matrix Reloaded; Matrix Revolutions",
    "Wrong Trousers; Close Shave; Grand Day Out with Wallace and Gromit; Grand Day Out; "
    "Wallace & Gromit: The Best of Aardman Animation; Wallace & Gromit: The Wrong Trousers; "
    "Wallace & Gromit: A Close Shave; Wallace & Gromit in The Curse of the Were-Rabbit",
    "Snow White and the Seven Dwarfs; Pinocchio; Dumbo; Bambi; Cinderella; Fantasia; Sleeping Beauty; "
    "Lady and the Tramp; Peter Pan; 101 Dalmatians",
    "Little Mermaid; Beauty and the Beast; Aladdin; Lion King; Pocahontas; Hunchback of Notre Dame; Hercules; Mulan",
    "Toy Story; Toy Story 2; Bug's Life; Monsters, Inc.; Finding Nemo; Incredibles; Ratatouille; WALL·E; Up; "
    "Toy Story 3",
    "Princess Mononoke; Spirited Away; My Neighbor Totoro; Howl's Moving Castle; Castle in the Sky",
    "Vertigo; Psycho; Rear Window; North by Northwest; Notorious; Rebecca; 39 Steps; Birds; Rope; "
    "Strangers on a Train; Dial M for Murder; To Catch a Thief",
    "Reservoir Dogs; Pulp Fiction; Jackie Brown; Kill Bill: Vol. 1; Kill Bill: Vol. 2; Inglourious Basterds",
    "Blood Simple; Raising Arizona; Miller's Crossing; Barton Fink; Hudsucker Proxy; Fargo; Big Lebowski",
    "Clerks; Mallrats; Chasing Amy; Dogma; Jay and Silent Bob Strike Back",
    "Monty Python and the Holy Grail; Monty Python's Life of Brian; Monty Python's The Meaning of Life; "
    "And Now for Something Completely Different; Fish Called Wanda; Time Bandits",
    "Sense and Sensibility; Emma; Persuasion; Pride and Prejudice; Mansfield Park",
    "Before Sunrise; Before Sunset; Before Midnight",
    "Dr. No; From Russia with Love; Goldfinger; GoldenEye; Tomorrow Never Dies; Thunderball",
    "Fistful of Dollars; For a Few Dollars More; Good, the Bad and the Ugly; Once Upon a Time in the West",
    "Addams Family; Addams Family Values",
    "Grumpy Old Men; Grumpier Old Men",
    "Harry Potter and the Sorcerer's Stone; Harry Potter and the Chamber of Secrets; "
    "Harry Potter and the Prisoner of Azkaban; Harry Potter and the Goblet of Fire",
)
SERIES = re.compile(r"\s*(?::|,?\s+part\b|,?\s+episode\b|,?\s+(?:\d{1,2}|[ivx]+)(?![\w'])).*$")
ARTICLE = re.compile(r",\s+(?:the|a|an|les|la|le|il|das|der|die)$")
ALIAS = re.compile(r"\s*\([^()]*\)$")
MIN_HEAD = 4  # letters that the titles of a series share


def related_groups(titles: Sequence[str | None]) -> tuple[list[list[int]], list[list[int]]]:
    """Curated groups and series, of two or more positions in the catalogue each; a position is in one group only."""
    first: dict[str, int] = {}
    for position, title in enumerate(titles):
        if title:
            first.setdefault(plain_title(title), position)
    curated = [[first.pop(name) for name in names.casefold().split("; ") if name in first] for names in CURATED]
    series: dict[str, list[int]] = {}
    for title, position in first.items():
        series.setdefault(SERIES.sub("", title).strip(), []).append(position)
    named = [positions for head, positions in series.items() if len(head) >= MIN_HEAD]
    return [group for group in curated if len(group) > 1], [group for group in named if len(group) > 1]


def plain_title(title: str) -> str:
    """Lower case without aliases and article: "postman" for "Postman, The (Postino, Il)"."""
    title = title.casefold().strip()
    while (shorter := ALIAS.sub("", title)) not in ("", title):
        title = shorter
    return ARTICLE.sub("", title)


class SimilarScorer:
    """Scores of the most similar movies, as `pipe.similar` ranks them, for histories of one movie."""

    def __init__(self, embeddings: ItemEmbeddings, vocab_size: int) -> None:
        self.embeddings, self.vocab_size = embeddings, vocab_size

    def __call__(self, histories: Ragged) -> torch.Tensor:
        """Scores (batch, vocab_size), float32; -inf for special tokens."""
        first = self.embeddings.first_item_id
        positions = torch.from_numpy(histories.values.copy()) - first
        scores = torch.full((len(histories), self.vocab_size), -torch.inf)
        scores[:, first:] = self.embeddings.similarities(positions).float()
        return scores


def evaluate_related_items(
    model_scorers: Mapping[str, Scorer], data: PreparedData, config: EvaluationConfig
) -> dict[str, Any] | None:
    """The section `related_items` of `evaluation.json`; None where no group of the catalogue has two movies.

    Baselines are added to the scorers of the model. Differences are between the first scorer and every other one.
    """
    tokenizer = data.tokenizer
    curated, series = related_groups(tokenizer.items.get("title", []))
    if not (groups := curated + series):
        return None
    if len(groups) < FEW_USERS:
        logger.warning("only %d groups of related items: their intervals are wide and say little", len(groups))
    first, k = tokenizer.first_item_id, config.headline_k
    movies = [(movie, group) for group in groups for movie in group]
    histories = Ragged.from_lists([[first + movie] for movie, _ in movies])
    related = Ragged.from_lists([[first + other for other in group if other != movie] for movie, group in movies])

    def metrics(ranks: Ragged) -> dict[str, FloatArray]:
        found = share_found(ranks, [len(group) for group in groups], k)
        listed = np.where(np.arange(len(groups)) < len(curated), found, np.nan)
        return {f"found@{k}": found, **({f"listed_found@{k}": listed} if curated else {})}

    scorers = {**model_scorers, **fit_taste_baselines(data.train, len(tokenizer), config.seed)}
    return {
        "groups": len(groups),
        "listed": len(curated),
        "movies": len(movies),
        "seed": config.seed,
        "k": k,
        "model": list(model_scorers),
        "results": compare_scorers(scorers, histories, related, metrics, tokenizer, config),
    }


def share_found(ranks: Ragged, sizes: Sequence[int], k: int) -> FloatArray:
    """The share of related movies among the first k, (groups,): of min(k, all), averaged over the movies of a group.

    `ranks` has a row for every movie, group after group: ranks of its related movies. `sizes` (groups,) are in movies.
    """
    found = np.bincount(ranks.row_ids, weights=ranks.values <= k) / np.minimum(ranks.lengths, k)
    return np.bincount(np.repeat(np.arange(len(sizes)), sizes), weights=found) / sizes
