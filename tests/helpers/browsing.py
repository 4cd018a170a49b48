"""Visits of the page in a real browser, and what they must not do."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium without a window; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A tab of the browser, and what went wrong in it.

    Attributes:
        tab: Playwright's page.
        base: address of the server.
        faults: console messages and exceptions.
        elsewhere: requests to other servers.
    """

    tab: Any
    base: str
    faults: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tab.on("console", lambda message: self.faults.append(message.text))
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("request", self._watch)

    def _watch(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.elsewhere.append(request.url)

    def open(self, address: str = "") -> Any:
        self.tab.goto(f"{self.base}/{address}")
        self.wait()
        return self.tab

    def wait(self) -> None:
        """Until the page has what it asked for; pictures may come later."""
        expect(self.tab.locator("main[aria-busy=false]")).to_be_attached()
        expect(self.tab.locator("#panel[open][aria-busy=true]")).not_to_be_attached()

    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.tab.url).query)


@contextmanager
def visiting(browser: Any, base: str, **options: Any) -> Iterator[Visit]:
    """A tab without animations. It must not log anything, or call another server."""
    options = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
    context = browser.new_context(**options)
    context.set_default_timeout(10_000)
    visit = Visit(context.new_page(), base.rstrip("/"))
    yield visit
    context.close()
    assert not visit.faults
    assert not visit.elsewhere


GRID = ".results ol.grid > li"
ITEMS = "all => all.map(x => x.dataset.item)"  # of tiles


def tiles(tab: Any, selector: str = GRID) -> list[str]:
    found: list[str] = tab.locator(selector).evaluate_all(ITEMS)
    return found


def assert_shown(tab: Any, items: list[str], selector: str = GRID) -> None:
    """The tiles are of these items, in their order, within ten seconds."""
    deadline = time.monotonic() + 10
    while tiles(tab, selector) != items and time.monotonic() < deadline:
        time.sleep(0.02)
    assert tiles(tab, selector) == items


def expect(locator: Any) -> Any:
    return sync_api.expect(locator)
