"""The seven MovieLens releases: the layout of their files, and the counts that a copy is checked against."""

import difflib
from dataclasses import dataclass

DATA_VARIABLE = "HF_BERT4REC_DATA"
GROUPLENS = "https://files.grouplens.org/datasets/movielens"
HOMEPAGE = "https://grouplens.org/datasets/movielens/"
CITATION = """@article{harper2015movielens,
  title   = {The {MovieLens} Datasets: History and Context},
  author  = {Harper, F. Maxwell and Konstan, Joseph A.},
  journal = {ACM Transactions on Interactive Intelligent Systems},
  volume  = {5},
  number  = {4},
  pages   = {19:1--19:19},
  year    = {2015},
  doi     = {10.1145/2827872},
}"""
_COMMON = "Research use only; no commercial use without GroupLens' permission; cite Harper and Konstan (2015)."
CLOSED_LICENCE = f"{_COMMON} The data may not be redistributed without separate permission."
OPEN_LICENCE = f"{_COMMON} May be redistributed, transformations included, under the same conditions."


@dataclass(frozen=True)
class Layout:
    """The layout of a release's two tables."""

    ratings_file: str
    movies_file: str
    separator: str
    encoding: str  # of the movies; the ratings are ASCII in every release
    header: str = ""  # the first line of the ratings, "" for none
    movies_header: str = ""


TABS = Layout("u.data", "u.item", "\t", "latin-1")
COLONS_LATIN = Layout("ratings.dat", "movies.dat", "::", "latin-1")
COLONS_UTF8 = Layout("ratings.dat", "movies.dat", "::", "utf-8")
COMMAS = Layout("ratings.csv", "movies.csv", ",", "utf-8", "userId,movieId,rating,timestamp", "movieId,title,genres")

# The genre flags of u.item, in the order of its columns 6 to 24.
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


@dataclass(frozen=True)
class Release:
    """One MovieLens release, with the counts of its two tables."""

    name: str
    layout: Layout
    users: int
    rated_movies: int
    movies: int
    ratings: int
    redistributable: bool = False
    folders: tuple[str, ...] = ()  # other names of the unpacked archive's folder

    @property
    def archive(self) -> str:
        return f"{self.name}.zip"

    @property
    def licence(self) -> str:
        """A summary of the licence in the release's README."""
        return OPEN_LICENCE if self.redistributable else CLOSED_LICENCE


RELEASES = {
    release.name: release
    for release in (
        Release("ml-100k", TABS, 943, 1_682, 1_682, 100_000),
        Release("ml-latest-small", COMMAS, 610, 9_724, 9_742, 100_836, redistributable=True),
        Release("ml-1m", COLONS_LATIN, 6_040, 3_706, 3_883, 1_000_209),
        Release("ml-10m", COLONS_UTF8, 69_878, 10_677, 10_681, 10_000_054, folders=("ml-10M100K",)),
        Release("ml-20m", COMMAS, 138_493, 26_744, 27_278, 20_000_263),
        Release("ml-25m", COMMAS, 162_541, 59_047, 62_423, 25_000_095),
        Release("ml-32m", COMMAS, 200_948, 84_432, 87_585, 32_000_204),
    )
}


def get_release(name: str) -> Release:
    """Return the release of this name; ValueError lists the names and suggests the nearest."""
    if name in RELEASES:
        return RELEASES[name]
    near = difflib.get_close_matches(str(name), RELEASES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"Unknown MovieLens release {name!r}; known are {', '.join(RELEASES)}.{hint}")
