"""The demo in a browser, served as in a Space, without this package."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_bert4rec.hub.staging import SPACE_FOLDER, stage_space
from model_card.space import app
from tests.hub.hub_contents import Repo, commit_of
from tests.hub.hub_server import Hub
from tests.published import MOVIES

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
NAME = "someone/small"
ROOT = Path(__file__).resolve().parents[2]
SERVE = """
import runpy, sys
for name in ("hf_bert4rec", "training", "model_card"):
    sys.modules[name] = None  # importing it raises ImportError from here on
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ENTER, TAB = "\ue007", "\ue004"  # as WebDriver writes them
NO_BROWSER = "no Chromium: apt-get install chromium chromium-driver"
needs_browser = pytest.mark.skipif(
    (CHROMIUM is None or DRIVER is None) and os.environ.get("HF_BERT4REC_BROWSER") != "required", reason=NO_BROWSER
)


@pytest.fixture(scope="module")
def hub(model_folder) -> Iterator[Hub]:
    """A Hub that holds the small model."""
    paths = [path for path in model_folder.rglob("*") if path.is_file()]
    files = {path.relative_to(model_folder).as_posix(): path.read_bytes() for path in paths}
    with Hub() as hub:
        hub.repos["model", NAME] = Repo(private=False, branches={"main": [commit_of("a model", files)]})
        yield hub


@pytest.fixture(scope="module")
def address(hub, model_folder, tmp_path_factory) -> Iterator[str]:
    """Address of the demo, served from the staged Space, without a token."""
    folder = tmp_path_factory.mktemp("space")
    stage_space(model_folder, folder / "small", NAME)
    environment = hub.environment(folder / "home", token=None) | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": ""}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder / "small" / "app.py")],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        match = next(filter(None, (re.search(r"http://127\.0\.0\.1:\d+", line) for line in lines)), None)
        try:
            assert match, (folder / "log").read_text()[-3000:]
            yield match[0]
        finally:
            server.kill()
            server.wait()
            server.stdout.close()


class Page:
    """The page in a browser that reaches loopback only; only visible text is read."""

    def __init__(self, address: str) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "no-proxy-server"):
            options.add_argument(f"--{word}")
        options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.address = address

    def open(self, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")
        self.problems()  # requests that leaving the earlier page aborted
        self.driver.get(self.address)
        self.wait(lambda: self.texts("#answer"))

    def wait(self, condition: Any) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 20, 0.05).until(lambda _: condition())

    def texts(self, selector: str) -> list[str]:
        """The text of every visible element."""
        script = "return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent).map(e => e.innerText)"
        return [text.strip() for text in self.driver.execute_script(script, selector)]

    def click(self, selector: str, text: str) -> None:
        """Click the element with this text, once it is there."""
        script = (
            "const match = [...document.querySelectorAll(arguments[0])].find(e => e.innerText.trim() == arguments[1]);"
            "if (match) match.click(); return Boolean(match)"
        )
        self.wait(lambda: self.driver.execute_script(script, selector, text))

    def type(self, selector: str, *keys: str) -> None:
        from selenium.webdriver.common.by import By
        from selenium.webdriver.common.keys import Keys

        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(Keys.CONTROL + "a", Keys.NULL, *keys)

    def type_slowly(self, selector: str, *keys: str) -> None:
        """Type with a pause in which the page answers the first key."""
        for typed in (keys[0][0], "".join(keys)):
            self.type(selector, typed)
            time.sleep(0.5)

    def problems(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture(scope="module")
def browser(address) -> Iterator[Page]:
    assert CHROMIUM, NO_BROWSER  # with HF_BERT4REC_BROWSER=required the test is not skipped
    assert DRIVER, NO_BROWSER
    page = Page(address)
    yield page
    page.driver.quit()


@pytest.fixture
def page(browser, request) -> Iterator[Page]:
    """A freshly opened page, 1280 wide by default; its console must stay empty."""
    browser.open(getattr(request, "param", 1280))
    yield browser
    assert not browser.problems()


PICKED = ["Toy Story (1995)", "The Godfather (1972)", "Movie 7 (1957)"]


def pick_three(page: Page) -> None:
    for typed, title in zip(("toy", "god the", "movie 7"), PICKED, strict=True):
        page.type("#search textarea, #search input", typed)
        page.wait(lambda title=title: page.texts("button.match") == [title])  # not a result of a part of the query
        page.click("button.match", title)
        page.wait(lambda title=title: any(title in text for text in page.texts("#watched label")))


@needs_browser
@pytest.mark.slow
def test_three_movies_give_ten_and_a_filter_narrows_them(page):
    assert page.texts("#answer")[0].startswith("Nothing picked yet.")
    pick_three(page)
    assert page.texts("#watched label") == [f"{number}. {title}" for number, title in enumerate(PICKED, 1)]
    page.wait(lambda: len(page.texts("#answer .card")) == 10)
    titles = page.texts("#answer .card h3")
    assert not {title.rsplit(" (", 1)[0] for title in PICKED} & set(titles)
    scores = [float(text.split()[1].rstrip("%")) for text in page.texts("#answer .score")]
    assert scores == sorted(scores, reverse=True)
    assert all(re.fullmatch(r"19\d\d|20\d\d", year) for year in page.texts("#answer .year"))

    page.type("#genres input", "West", ENTER)
    page.wait(lambda: all("Western" in text for text in page.texts("#answer .genres")))
    assert len(page.texts("#answer .card")) == 10
    page.type_slowly("#first input[type=number]", "1980", TAB)
    page.wait(lambda: page.texts("#answer .empty") == ["4 movies left: widen the filters for more."])
    assert sorted(page.texts("#answer .year")) == ["1980", "1984", "1988", "2001"]
    page.type("#last input[type=number]", "1970", TAB)
    page.wait(lambda: any("swap them" in text for text in page.texts("#answer .error")))


@needs_browser
@pytest.mark.slow
def test_picks_can_be_removed_and_similar_movies_listed(page):
    pick_three(page)
    page.wait(lambda: len(page.texts("#answer .card")) == 10)
    page.type("#like input", "Godfather", ENTER)
    page.wait(lambda: len(page.texts("#similar .card")) == 6)
    assert "The Godfather" not in page.texts("#similar .card h3")
    page.click("#watched label", f"2. {PICKED[1]}")
    page.wait(lambda: page.texts("#watched label") == [f"1. {PICKED[0]}", f"2. {PICKED[2]}"])
    page.click("#clear", "Start again")
    page.wait(lambda: page.texts("#answer")[0].startswith("Nothing picked yet.") and not page.texts("#watched"))


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("page", [390], indirect=True)
def test_the_page_fits_a_phone(page):
    page.type("#search textarea, #search input", "zzz")
    page.wait(lambda: page.texts("#hint") == ["No other movie here has “zzz” in its title."])
    page.click("#examples button", page.texts("#examples button")[0])
    page.wait(lambda: len(page.texts("#watched label")) == 3 and len(page.texts("#answer .card")) == 10)
    widths = page.driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths == [390, 390]


@pytest.fixture(scope="module")
def catalogue(model_folder) -> app.Catalogue:
    return app.Catalogue(str(model_folder))


def test_a_search_ignores_case_accents_and_order(catalogue):
    def labels(query: str) -> list[str]:
        return [catalogue.labels[item] for item in catalogue.search(query, [])]

    assert labels("AMELIE") == ["Amélie (2001)"]
    assert labels("godfather, the") == labels("the godf") == labels("1972 god") == ["The Godfather (1972)"]
    assert len(labels("movie")) == app.MATCHES
    assert labels("  ") == labels("zzz") == labels("ovie") == []
    assert app.pick_first(catalogue, "godf", [])[0] == app.pick(catalogue, "The Godfather (1972)", [])[0] == [101]
    assert app.pick(catalogue, "The Godfather (1972)", [101])[0] == [101]
    toy = catalogue.search("toy", [])
    assert catalogue.search("toy", toy) == []


def test_examples_are_histories_of_the_catalogue(catalogue):
    examples = catalogue.examples()
    assert len(examples) == app.EXAMPLES
    items = [item for _, items in examples for item in items]
    assert len(set(items)) == len(items) == 12
    assert set(items) <= set(range(100, 100 + MOVIES))


def test_an_incomplete_year_does_not_filter(catalogue):
    def years(first: int | None, last: int | None) -> list[int]:
        titles = [movie["title"] for movie in catalogue.recommend([100], [], first, last)]
        return [int(app.YEAR.search(title)[1]) for title in titles]

    every = years(min(catalogue.years), max(catalogue.years))
    assert len(every) == app.TOP_K
    assert min(every) < 1970 < max(every)
    assert years(1, None) == years(198, 19) == every
    assert min(years(1980, 2)) >= 1980
    assert max(years(None, 1970)) <= 1970


def test_titles_are_escaped():
    movie = {"movie_id": 1, "title": "<script>alert(1)</script> (1999)", "genres": ["<b>"], "score": 0.5}
    html = app.cards([movie], "score")
    assert "<script>" not in html
    assert "<b>" not in html
    assert "50.0%" in html
    assert app.message("<i>").count("<") == 2
    assert app.cards([{**movie, "title": None}], "similarity").count("<h3>1</h3>") == 1


def test_a_missing_model_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["app.py"])
    with pytest.raises(SystemExit, match=r"usage: python app\.py"):
        app.main()
    monkeypatch.setattr(sys, "argv", ["app.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="cannot be loaded: give a folder"):
        app.main()


def test_the_page_imports_only_its_requirements():
    tree = ast.parse((SPACE_FOLDER / "app.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names)
    lines = (SPACE_FOLDER / "requirements.txt").read_text().splitlines()
    listed = {re.split(r"[=<>~]", line)[0] for line in lines if not line.startswith("-")}
    assert foreign <= listed
    assert listed - foreign == {"torch"}  # which the model's own code imports
    version = next(line for line in lines if line.startswith("gradio==")).removeprefix("gradio==")
    assert f"sdk_version: {version}\n" in (SPACE_FOLDER / "README.md").read_text(encoding="utf-8")
    assert 'python_version: "3.12"\n' in (SPACE_FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"gradio=={version}\n" in (ROOT / "constraints.txt").read_text()
