"""The page at all widths and in both colours; its token; a change of the served run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import assert_shown, chromium, expect, tiles, visiting
from served_store import Maker, running

from brmrs.service.access import make
from brmrs.serving.current import promote
from brmrs.store.artifacts import ArtifactStore

USER = "U00003"
VIEWS = {
    "start": "",
    "user": f"?user={USER}&branch=text",
    "picks": "?pick=A%2F00001&pick=A%2F00007",
    "item": f"?user={USER}&item=A%2F00007",
    "compare": f"?user={USER}&beside=a-ease",
    "missing": "?user=nobody",
}
TOKEN = "a token of the tests".replace(" ", "-")

# The contrast of every text with its background; those below 4.5 to 1 (WCAG 2 AA).
LOW_CONTRAST = """() => {
  const parse = (color) => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] > 250) return color;
    }
    return parse(getComputedStyle(document.body).backgroundColor);
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((x) => x.nodeType === 3 && x.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    if (element.closest(".unseen, option, noscript")) continue;
    const {color, backgroundImage} = getComputedStyle(element.closest(".cover") ?? element);
    const gradient = backgroundImage.match(/(rgb|hsl|color)[^()]*[(][^()]*[)]/g) ?? [];
    const colors = gradient.length ? gradient.map(parse) : [behind(element)];
    for (const ground of colors) {
      const found = contrast(parse(color), ground);
      if (found < 4.5) low.push(`${element.className}: ${element.textContent}: ${found}`);
    }
  }
  return low;
}"""

# Controls that a screen reader could not name.
UNNAMED = """all => all.filter(x => x.checkVisibility() && !x.ariaLabel && !x.labels?.length
  && !x.textContent.trim()).map(x => x.outerHTML)"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    store = ArtifactStore(tmp_path_factory.mktemp("looks") / "artifacts")
    Maker(store, "a-ease", seed=1).write("ease")
    Maker(store, "b-served").write()
    return store


@pytest.fixture(scope="module")
def base(store: ArtifactStore) -> Iterator[str]:
    with running(store) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("view", VIEWS)
def test_widths_contrast_and_names(view: str, browser: Any, base: str) -> None:
    """One visit per view, as loading takes most of the time."""
    with visiting(browser, base) as visit:
        tab = visit.open(VIEWS[view])
        for width in (1600, 1280, 400):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            assert tab.evaluate("panel.scrollWidth <= panel.clientWidth")
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            assert tab.evaluate(LOW_CONTRAST) == [], scheme
        assert tab.locator("a, button, input, select").evaluate_all(UNNAMED) == []
        assert tab.locator("h1").count() == 1
        ids = tab.locator("[id]").evaluate_all("all => all.map(x => x.id)")
        assert len(ids) == len(set(ids))
        if view == "missing":
            visit.faults.clear()  # the browser logs the 404s


def test_the_chosen_colours_remain(browser: Any, base: str) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with visiting(browser, base, color_scheme="light") as visit:
        tab = visit.open()
        light = tab.evaluate(ground)
        button = tab.locator("#theme")
        button.click()
        expect(button).to_have_attribute("aria-label", "Colours: light")
        button.click()
        expect(button).to_have_attribute("aria-label", "Colours: dark")
        dark = tab.evaluate(ground)
        assert dark != light
        tab.reload()
        assert tab.evaluate(ground) == dark
        tab.locator("#theme").click()
        assert tab.evaluate(ground) == light


def test_a_token_is_asked_for_and_pictures_are_shown_with_it(
    store: ArtifactStore, tmp_path: Path, browser: Any
) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN)
    access = make("127.0.0.1", (), path)
    with running(store, access=access) as client, visiting(browser, str(client.base_url)) as visit:
        tab = visit.tab
        tab.goto(f"{visit.base}/?user={USER}")
        dialog = tab.get_by_role("dialog")
        for wrong, told in (("wrong", "did not accept"), ("two words", "no spaces")):
            dialog.get_by_label("Token").fill(wrong)
            dialog.get_by_role("button", name="Continue").click()
            expect(dialog.get_by_role("alert")).to_contain_text(told)
        dialog.get_by_label("Token").fill(TOKEN)
        tab.keyboard.press("Enter")
        expect(tab.locator(".grid li")).not_to_have_count(0)
        expect(tab.locator(".history img.picture.loaded").first).to_be_visible()
        assert TOKEN not in tab.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        tab.reload()
        expect(tab.locator(".grid li")).not_to_have_count(0)
        visit.faults.clear()  # the browser logs the 401s


def test_the_page_works_under_a_path_of_its_own(store: ArtifactStore, browser: Any) -> None:
    with (
        running(store, under="/shop/brmrs") as client,
        visiting(browser, f"{client.base_url}/shop/brmrs") as visit,
    ):
        tab = visit.open(f"?user={USER}")
        expect(tab.locator(".history img.picture.loaded").first).to_be_visible()
        assert client.get("/v1/status").status_code == 404


def test_another_run_is_served_from_now_on(tmp_path: Path, browser: Any) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    for name, seed in (("a-first", 0), ("b-second", 1)):
        Maker(store, name, seed=seed).write()
    promote(store, "a-first")
    with running(store) as client, visiting(browser, str(client.base_url)) as visit:
        tab = visit.open(f"?user={USER}")
        expect(tab.locator("#run")).to_contain_text("a-first")
        before = tiles(tab)
        promote(store, "b-second")
        os.utime(store.root / "runs")
        for _ in range(100):
            if client.get("/v1/status").json()["run"] == "b-second":
                break
            tab.wait_for_timeout(50)
        tab.get_by_label("Include the history").check()
        expect(tab.locator("#run")).to_contain_text("b-second")
        found = client.get(f"/v1/users/{USER}/recommendations?k=20&exclude_seen=false").json()
        assert_shown(tab, [row["item"] for row in found["items"]])
        assert tiles(tab) != before
