"""Pages in Chromium, which reaches loopback only; for the benchmark and the tests of the demo."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from hf_bert4rec.cli.demo import serve

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
# Answers requests with recommender.js.
RECOMMEND = """
const [file, requests, done] = arguments;
(async () => {
  const ort = await import(new URL("ort/ort.wasm.min.mjs", location.href));
  const { Recommender } = await import(new URL("recommender.js", location.href));
  const recommender = await Recommender.load(new URL(".", location.href), { ort, file });
  const answers = [];
  for (const { history, ...options } of requests) answers.push(await recommender.recommend(history, options));
  return answers;
})().then(done, (error) => done({ error: String(error) }));
"""


@contextmanager
def browse(folder: Path) -> Iterator[Page]:
    """A browser for the pages in a folder."""
    with serve(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = Page(f"http://127.0.0.1:{server.server_port}")
        try:
            yield page
        finally:
            page.driver.quit()
            server.shutdown()


class Page:
    """Pages of the server at `address` in a browser; only visible text is read."""

    def __init__(self, address: str) -> None:
        if CHROMIUM is None or DRIVER is None:
            raise FileNotFoundError("no Chromium, or no chromedriver: apt-get install chromium chromium-driver")
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "no-proxy-server"):
            options.add_argument(f"--{word}")
        options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(60)
        self.address = address

    def open(self, path: str, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")
        self.problems()  # requests that leaving the earlier page aborted
        self.driver.get(f"{self.address}/{path}/")

    def wait(self, condition: Any) -> Any:
        return WebDriverWait(self.driver, 20, 0.05).until(lambda _: condition())

    def texts(self, selector: str) -> list[str]:
        """The text of every visible element, its lines and spaces joined."""
        script = "return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent).map(e => e.innerText)"
        texts = [" ".join(text.split()) for text in self.driver.execute_script(script, selector)]
        return [text for text in texts if text]

    def recommended(self) -> list[int]:
        """The ids of the movies in the cards."""
        script = "return [...document.querySelectorAll('#cards > li')].map(card => Number(card.dataset.movie))"
        return self.driver.execute_script(script)

    def click(self, selector: str, text: str) -> None:
        """Click the element with this text, once it is there."""
        script = (
            "const match = [...document.querySelectorAll(arguments[0])]"
            ".find(e => e.innerText.split(/\\s+/).filter(Boolean).join(' ') == arguments[1]);"
            "if (match) match.click(); return Boolean(match)"
        )
        self.wait(lambda: self.driver.execute_script(script, selector, text))

    def type(self, selector: str, keys: str) -> None:
        """Replace the text of an input."""
        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(Keys.CONTROL + "a", Keys.NULL, keys)

    def press(self, keys: str) -> None:
        """Press keys wherever the focus is."""
        ActionChains(self.driver).send_keys(keys).perform()

    def focused(self, attribute: str) -> str | None:
        """An attribute of the element that has the focus."""
        return self.driver.execute_script("return document.activeElement.getAttribute(arguments[0])", attribute)

    def recommend(self, requests: list[dict[str, Any]], file: str) -> list[list[dict[str, Any]]]:
        """Answers of the page's recommender.js."""
        result = self.driver.execute_async_script(RECOMMEND, file, requests)
        assert "error" not in result, result
        return result

    def problems(self) -> list[str]:
        """Warnings and errors in the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
