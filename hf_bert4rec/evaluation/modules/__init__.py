"""hit_rate, ndcg and mrr as `evaluate` modules: the same pure functions, fed batch by batch.

`evaluate.load(path("ndcg"))` reads the module from this folder, with no network.
"""

from pathlib import Path


def path(name: str) -> str:
    """The folder of the module called `name`, for `evaluate.load`.

    Raises:
        ValueError: There is no such module; those that exist are listed.
    """
    folder = Path(__file__).parent
    if not (folder / name / f"{name}.py").is_file():
        known = sorted(script.stem for script in folder.glob("*/*.py"))
        raise ValueError(f"no evaluate module called {name!r}; there are {', '.join(known)}")
    return str(folder / name)
