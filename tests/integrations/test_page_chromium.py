"""The page of a search in a browser: it opens from disk, draws, sorts and asks for nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp import Candidate
from ase_continuousp.page import render
from tests.systems import perovskite
from tests.test_page import EVIL

pytestmark = pytest.mark.integration
selenium = pytest.importorskip("selenium")

SCREENSHOT = Path(__file__).parents[2] / "build" / "page.png"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--window-size=1280,1400",
)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    trace = np.linspace(0, -1, 40) + 0.1 * np.cos(np.arange(40))
    found = [
        Candidate(
            perovskite(), -1.0, ("Pm-3m", 221), 3, 1, True, False, "prototype", EVIL, None, 0.9
        ),
        Candidate(
            bulk("NaCl", "rocksalt", a=5.64), -1.2, ("Fm-3m", 225), 1, 1, True, True, "random"
        ),
        Candidate(
            bulk("Mg"), -0.5, ("P6_3/mmc", 194), 10, 2, False, False, "random", "", None, 0.05,
            trace=trace,
        ),
    ]  # fmt: skip
    path = tmp_path / "page.html"
    path.write_text(render(EVIL, found, model="mp20"), encoding="utf-8")
    return path


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("no Chromium with chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


def requests(browser: Any, page: str) -> list[str]:
    """Return what a page asked for, and not what an empty tab of Chromium did before it."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent" and event["params"]["documentURL"] == page
    ]


def picture(browser: Any) -> np.ndarray:
    """Return the viewer as pixels."""
    from matplotlib.image import imread

    element = browser.find_element("id", "viewer")
    return np.asarray(imread(BytesIO(element.screenshot_as_png)))[..., :3]


def ranks(browser: Any) -> list[str]:
    cells = browser.find_elements("css selector", "#ranked tbody tr td:first-child")
    return [cell.text for cell in cells]


def test_page_in_chromium(browser: Any, page: Path) -> None:
    browser.get(page.as_uri())
    browser.implicitly_wait(10)
    browser.find_element("css selector", "#viewer canvas")

    # Three balls of three colours on white, neither blank nor a single patch.
    first = picture(browser)
    coloured = (first.max(-1) - first.min(-1)) > 0.3
    assert 0.005 < coloured.mean() < 0.6
    greens = (first[..., 1] > first[..., 0] + 0.3) & (first[..., 1] > first[..., 2] + 0.3)
    reds = (first[..., 0] > first[..., 1] + 0.3) & (first[..., 0] > first[..., 2] + 0.3)
    assert greens.sum() > 200  # strontium
    assert reds.sum() > 200  # oxygen

    # Text from a file is text.
    assert browser.title == EVIL
    assert browser.find_element("tag name", "h1").text == EVIL
    assert EVIL in browser.find_element("css selector", "#values").text
    assert not browser.find_elements("css selector", "[onerror], img[src='x']")

    SCREENSHOT.parent.mkdir(exist_ok=True)
    browser.save_screenshot(str(SCREENSHOT))

    # Sorting: by energy up, down, and by probability with what has none last.
    def click(title: str) -> None:
        for button in browser.find_elements("css selector", "#ranked th button"):
            if button.text.startswith(title):
                button.click()

    assert ranks(browser) == ["1", "2", "3"]
    click("Energy")
    assert ranks(browser) == ["2", "1", "3"]
    click("Energy")
    assert ranks(browser) == ["3", "1", "2"]
    click("Probability")
    assert ranks(browser) == ["3", "1", "2"]
    click("Found")
    assert ranks(browser) == ["2", "1", "3"]

    # Another row is another crystal, pattern and text.
    before = browser.find_element("id", "pattern").get_attribute("innerHTML")
    browser.find_element("css selector", "tr[data-candidate='2']").click()
    assert browser.find_element("id", "title").text == "3. Mg2 P6_3/mmc (194)"
    assert browser.find_element("id", "pattern").get_attribute("innerHTML") != before
    assert "Mg" in browser.find_element("id", "cif").get_attribute("textContent")
    assert np.abs(picture(browser) - first).max() > 0.3

    # One script of the viewer, one canvas, no complaint, nothing but the file and its pictures.
    assert browser.execute_script("return document.scripts.length") == 3
    assert len(browser.find_elements("css selector", "#viewer canvas")) == 1
    complaints = [e for e in browser.get_log("browser") if "GPU stall" not in e["message"]]
    assert not complaints
    asked = requests(browser, page.as_uri())
    assert page.as_uri() in asked
    foreign = [url for url in asked if url != page.as_uri() and not url.startswith("data:")]
    assert not foreign


def test_an_injected_script_would_not_run(browser: Any, tmp_path: Path) -> None:
    """The policy holds even where something slipped through the escaping."""
    text = render("Cu", [Candidate(bulk("Cu"), -1.0, ("Fm-3m", 225), 1, 1, True, False)])
    evil = "<script>document.title='broken'</script><img src='https://example.org/x.png'>"
    path = tmp_path / "broken.html"
    path.write_text(text.replace("<main>", evil + "<main>"), encoding="utf-8")
    browser.get(path.as_uri())
    assert browser.title == "Cu"
    complaints = " ".join(e["message"] for e in browser.get_log("browser"))
    assert complaints.count("Content Security Policy") >= 2
