"""The demo in Chromium: how soon it answers after a cold load, and how soon after that.

    python -m benchmarks.demo_page
    python -m benchmarks.demo_page outputs/ml-100k

The page is served from loopback. The first answer is timed from opening the page in a new browser to ten
recommendations for the first example, whose button is clicked as soon as it is there. The next answers are timed in the
page, from a click, which adds the best recommendation to the history, to new recommendations. Without a folder, an
untrained model of MovieLens 1M's size is measured. Needs Chromium and its driver.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.browser import Page, browse
from benchmarks.measure import benchmark_parser, cpu_load, row, write_result
from benchmarks.serving import save_untrained
from hf_bert4rec.hub.space import stage_space

FIRST_ANSWER_SECONDS, NEXT_ANSWER_MILLISECONDS = 3.0, 50.0  # targets
WIDTH = 1280
ADD_BEST, CHOOSE_NEXT = ".card .actions > :last-child", "#goals [value=next]"  # what is clicked
CLICK = """
const [selector, done] = arguments;
const start = performance.now();
new MutationObserver((_, observer) => {
  observer.disconnect();
  done(performance.now() - start);
}).observe(document.getElementById("cards"), { childList: true });
document.querySelector(selector).click();
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_parser(__doc__, repeats=5)
    parser.add_argument("folder", type=Path, nargs="?", help="an exported recommender (default: an untrained model)")
    parser.add_argument("--calls", type=int, default=20, help="movies added to the history per repeat and goal")
    arguments = parser.parse_args(argv)
    load = cpu_load()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or save_untrained(Path(temporary) / "untrained")
        stage_space(folder, Path(temporary) / "pages" / "demo", folder.resolve().name)
        rows = measure(Path(temporary) / "pages", folder.resolve().name, arguments.repeats, arguments.calls)
    write_result(arguments, "demo_page", rows, load)


def measure(pages: Path, model: str, repeats: int, calls: int) -> list[dict[str, Any]]:
    """Rows of the page in the folder `demo`: its size, its first answer, and the next ones."""
    first: list[float] = []
    later: dict[str, list[float]] = {}
    for _ in range(repeats):
        with browse(pages) as page:
            first.append(first_answer(page, "demo"))
            for name, times in next_answers(page, calls).items():
                later.setdefault(name, []).append(median(times))
    files = [path for path in (pages / "demo").rglob("*") if path.is_file()]
    movies = len(json.loads((pages / "demo" / "items.json").read_text(encoding="utf-8"))["title"])
    title = f"{model}, {movies:,} movies"
    return [
        row(f"{title}, first answer after a cold load", "s", first, at_most=FIRST_ANSWER_SECONDS),
        *(row(f"{title}, {name}", "ms", times, at_most=NEXT_ANSWER_MILLISECONDS) for name, times in later.items()),
        row(f"{title}, size of all files", "MB", [sum(path.stat().st_size for path in files) / 1e6]),
    ]


def first_answer(page: Page, path: str) -> float:
    """Seconds from opening a page to its answer to the first example."""
    start = time.perf_counter()
    page.open(path, WIDTH)
    page.wait(lambda: page.texts("#examples button"))
    page.click("#examples button", page.texts("#examples button")[0])
    page.wait(lambda: page.texts("#timing"))
    return time.perf_counter() - start


def next_answers(page: Page, calls: int) -> dict[str, list[float]]:
    """Milliseconds from a click to new recommendations, by what was clicked; the best movie is added `calls` times."""
    times = {}
    if page.texts("#goals"):  # the model has taste
        times["next answer, goal taste"] = milliseconds(page, ADD_BEST, calls)
        times["answer after the goal is changed"] = milliseconds(page, CHOOSE_NEXT, 1)
    times["next answer, goal next"] = milliseconds(page, ADD_BEST, calls)
    return times


def milliseconds(page: Page, selector: str, calls: int) -> list[float]:
    """Milliseconds from clicking the first element of a selector to new recommendations, for every call."""
    return [page.driver.execute_async_script(CLICK, selector) for _ in range(calls)]


if __name__ == "__main__":
    main()
