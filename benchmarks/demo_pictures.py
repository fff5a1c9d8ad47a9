"""Take the pictures of the demo in docs/images/: light on a desktop, and dark on a phone.

    python -m benchmarks.demo_pictures outputs/ml-100k

Needs Chromium and its driver, and for the usual look fonts that the page names, such as Roboto and P052.
"""

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.browser import Page, browse
from benchmarks.measure import ROOT, script_parser
from hf_bert4rec.hub.space import stage_space

PICTURES = {"demo.png": (1280, 860, "light"), "demo-phone.png": (390, 844, "dark")}  # width, height, colours
PICKED = ("Star Wars", "Fargo", "Blade Runner", "Pulp Fiction")


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("folder", type=Path, help="an exported recommender of MovieLens")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images", help="folder for the pictures")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as pages:
        stage_space(arguments.folder, Path(pages) / "demo", f"someone/bert4rec-{arguments.folder.resolve().name}")
        with browse(Path(pages)) as page:
            page.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            for name, (width, height, scheme) in PICTURES.items():
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
                page.open("demo", width, height)
                (arguments.images / name).write_bytes(take_picture(page))


def take_picture(page: Page) -> bytes:
    """Pick movies on the opened page, ask why the first is recommended, and take a PNG of the answer."""
    page.wait(lambda: page.texts("#examples button"))
    for count, title in enumerate(PICKED, start=1):
        page.type("#search", title)
        page.wait(lambda: page.texts("#matches li"))
        page.click("#matches li", page.texts("#matches li")[0])
        page.wait(lambda count=count: len(page.texts("#history > li")) == count)
    page.wait(lambda: page.texts("#timing"))
    page.driver.execute_script("document.querySelector('.card .actions button').click()")
    page.wait(lambda: page.texts(".card .panel"))
    page.driver.execute_script("document.activeElement.blur()")
    if page.driver.execute_script("return innerWidth") < 600:  # one column: the answer comes below the history
        page.driver.execute_script("document.getElementById('answer-heading').scrollIntoView(); scrollBy(0, -12)")
    return base64.b64decode(page.driver.execute_cdp_cmd("Page.captureScreenshot", {})["data"])


if __name__ == "__main__":
    main()
