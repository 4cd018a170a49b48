"""The page, by clicks and keys in a real browser against a real server."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from browsing import ITEMS, Visit, assert_shown, chromium, expect, visiting
from served_store import Maker, running

from brmrs.service import endpoints
from brmrs.store.artifacts import ArtifactStore

USER = "U00003"
MINUS = "\N{MINUS SIGN}"
SCRIPT = "A/00002"  # its title holds a script element
WITHOUT_PICTURE = "A/00005"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """Two runs: the served one with three branches, and one of EASE."""
    store = ArtifactStore(tmp_path_factory.mktemp("page") / "artifacts")
    Maker(store, "a-ease", seed=1).write("ease")
    Maker(store, "b-served").write()
    return store


@pytest.fixture(scope="module")
def client(store: ArtifactStore) -> Iterator[httpx.Client]:
    with running(store) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, client: httpx.Client) -> Iterator[Visit]:
    with visiting(browser, str(client.base_url)) as visit:
        yield visit


def answer(client: httpx.Client, path: str, **parameters: Any) -> Any:
    found = client.get(f"/v1/{path}", params=parameters)
    assert found.status_code == 200, found.text
    return found.json()


def recommended(client: httpx.Client, k: int = 20, **parameters: Any) -> list[str]:
    found = answer(client, f"users/{USER}/recommendations", k=k, **parameters)
    return [row["item"] for row in found["items"]]


def focused(tab: Any, expression: str = "x.tagName") -> Any:
    return tab.evaluate(f"(x => {expression})(document.activeElement)")


def test_from_an_example_user_to_the_recommendations(visit: Visit, client: httpx.Client) -> None:
    tab = visit.open()
    example = answer(client, "users", limit=6)["users"][0]
    assert tab.locator(".example").count() == 6
    tab.locator(".example").first.click()
    expect(tab.locator("h1")).to_have_text(example["id"])
    expect(tab.locator(".history h2")).to_have_text(f"History{example['n_history']}")
    assert visit.query() == {"user": [example["id"]]}
    assert focused(tab, "x.id") == "main"  # so that the tab key goes on from here
    tab.go_back()
    expect(tab.locator("h1")).to_contain_text("Recommendations from")


def test_the_history_says_how_many_items_it_leaves_out(
    visit: Visit, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = answer(client, f"users/{USER}/history")
    monkeypatch.setattr(endpoints, "MOST_HISTORY", 2)
    tab = visit.open(f"?user={USER}")
    expect(tab.locator(".history-row")).to_have_count(2)
    rest = sum(max(0, len(history[part]) - 2) for part in ("items", "held_out"))
    expect(tab.locator(".history")).to_contain_text(f"{rest} more item")


def test_history_and_recommendations_show_pictures_titles_and_held_out_items(
    visit: Visit, client: httpx.Client
) -> None:
    tab = visit.open(f"?user={USER}")
    assert_shown(tab, recommended(client))
    history = answer(client, f"users/{USER}/history")
    titles = tab.locator(".history-row .tile-title").all_text_contents()
    assert titles == [row["title"] for row in history["items"]]
    held_out = {row["item"] for row in history["held_out"]} & set(recommended(client))
    marked = tab.locator(".grid li:has(.mark:not([hidden]))")
    assert set(marked.evaluate_all(ITEMS)) == held_out
    assert held_out, "the example shows nothing"
    # Every item has either a picture that the browser could decode, or a cover of words.
    broken = "all => all.filter(x => !x.naturalWidth).length"
    tab.locator("footer").scroll_into_view_if_needed()
    expect(tab.locator(".grid img.picture:not(.loaded)")).to_have_count(0)
    assert tab.locator(".grid img.picture").count() > 0
    assert tab.locator(".grid img.picture").evaluate_all(broken) == 0
    assert (
        tab.locator(".grid li").count() == tab.locator(".grid li :is(.cover, img.picture)").count()
    )


@pytest.mark.parametrize("branch", ["text", "visual"])
def test_another_branch_reorders_the_tiles_and_tells_the_change(
    branch: str, visit: Visit, client: httpx.Client
) -> None:
    tab = visit.open(f"?user={USER}")
    tab.get_by_role("radio", name=branch).check()
    wanted, fused = recommended(client, branch=branch), recommended(client, k=100)
    expect(tab.locator(".grid li .rank").first).to_have_text("1")
    assert_shown(tab, wanted)
    for entry, item in zip(tab.locator(".grid li").all(), wanted, strict=True):
        places = fused.index(item) - wanted.index(item)
        shown = f"{'▲' if places > 0 else '▼'} {abs(places)}" if places else "="
        assert entry.locator(".delta").text_content() == shown
    assert visit.query()["branch"] == [branch]
    tab.go_back()
    expect(tab.get_by_role("radio", name="Fused")).to_be_checked()
    assert_shown(tab, recommended(client))


@pytest.mark.parametrize(("motion", "moves"), [("no-preference", True), ("reduce", False)])
def test_tiles_move_unless_less_motion_is_wanted(
    motion: str, moves: bool, browser: Any, client: httpx.Client
) -> None:
    moving = "[...document.querySelectorAll('.grid li')].some(x => x.getAnimations().length)"
    with visiting(browser, str(client.base_url), reduced_motion=motion) as visit:
        tab = visit.open(f"?user={USER}")
        tab.locator("#branch-visual").check()
        expect(tab.locator(".delta.up").first).to_be_visible()
        assert tab.evaluate(moving) == moves


def test_filters_are_in_the_address_and_change_the_list(visit: Visit, client: httpx.Client) -> None:
    tab = visit.open(f"?user={USER}")
    tab.get_by_label("Category").select_option("Mug")
    assert_shown(tab, recommended(client, category="Mug"))
    tab.get_by_label("Include the history").check()
    assert_shown(tab, recommended(client, category="Mug", exclude_seen=False))
    assert visit.query() == {"user": [USER], "category": ["Mug"], "seen": ["1"]}
    tab.get_by_label("Category").select_option("")
    tab.get_by_label("Show").select_option("10")
    assert_shown(tab, recommended(client, k=10, exclude_seen=False))
    shared = visit.open(f"?{urlsplit(tab.url).query}")  # what a colleague sees who gets the link
    assert_shown(shared, recommended(client, k=10, exclude_seen=False))


def test_the_panel_says_why_and_what_is_similar(visit: Visit, client: httpx.Client) -> None:
    tab = visit.open(f"?user={USER}")
    item = recommended(client)[0]
    tab.locator(".grid a.tile").first.click()
    panel = tab.get_by_role("dialog")
    expect(panel.locator("#panel-title")).to_be_visible()
    visit.wait()
    why = answer(client, "explain", user=USER, item=item)
    assert panel.locator(".branches dd .of").all_text_contents() == [
        f"#{row['rank']} of {row['of']}" for row in why["branches"]
    ]
    values = [f"{row['contribution']:+.3f}".replace("-", MINUS) for row in why["history"][:6]]
    assert panel.locator(".carriers .value").all_text_contents() == values
    for kind in ("text", "visual", "purchases"):
        found = client.get(f"/v1/items/{quote(item, safe='')}/similar", params={"modality": kind})
        if found.status_code == 200:
            titles = panel.locator(f".part.{kind} .strip .tile-title").all_text_contents()
            assert titles[:10] == [row["title"] for row in found.json()["items"]]
    # From one item to the next, and back.
    panel.locator(".part.purchases .strip a").first.click()
    other = visit.query()["item"][0]
    assert other != item
    tab.go_back()
    expect(panel.locator(".id")).to_have_text(item)
    tab.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert "item" not in visit.query()


def test_picks_of_a_new_user(visit: Visit, client: httpx.Client) -> None:
    tab = visit.open()
    tab.locator(".pickable a").first.click()
    expect(tab.locator("h1")).to_have_text("New user")
    first = visit.query()["pick"][0]
    tab.locator("#query").fill("Clock")
    expect(tab.get_by_text("Items: add to your picks")).to_be_visible()
    tab.get_by_role("option").first.click()
    expect(tab.locator(".history .number")).to_have_text("2")
    visit.wait()
    picks = visit.query()["pick"]
    assert picks[0] == first
    found = client.post("/v1/recommendations", json={"history": picks, "k": 20}).json()
    assert_shown(tab, [row["item"] for row in found["items"]])
    tab.locator(".grid a.tile").first.click()
    expect(tab.get_by_role("dialog").locator(".carriers li")).to_have_count(2)
    tab.get_by_role("button", name="Add to picks").click()
    expect(tab.locator(".history .number")).to_have_text("3")
    tab.get_by_role("button", name="Remove").first.click()
    expect(tab.locator(".history .number")).to_have_text("2")
    assert visit.query()["pick"] == [picks[1], found["items"][0]["item"]]


def test_picks_that_the_run_lacks_are_named(visit: Visit) -> None:
    tab = visit.open("?pick=A%2F00001&pick=GONE")
    expect(tab.locator(".history")).to_contain_text("Not among the items of this run: GONE")
    visit.faults.clear()  # the browser logs the 404


def test_two_runs_side_by_side(visit: Visit, client: httpx.Client) -> None:
    tab = visit.open(f"?user={USER}")
    tab.get_by_label("Compare with").select_option("a-ease")
    expect(tab.locator(".column")).to_have_count(2)
    left, right = recommended(client), recommended(client, run="a-ease")
    assert_shown(tab, left, ".column.left li")
    assert_shown(tab, right, ".column.right li")
    both = set(left) & set(right)
    assert tab.locator(".lines path").count() == len(both)
    expect(tab.locator(".common")).to_contain_text(f"{len(both)} of 20 items are in both lists")
    held_out = {row["item"] for row in answer(client, f"users/{USER}/history")["held_out"]}
    for side, items in (("left", left), ("right", right)):
        marked = tab.locator(f".column.{side} li:has(.mark)").evaluate_all(ITEMS)
        assert marked == [item for item in items if item in held_out]
        expect(tab.locator(f".column.{side}")).to_contain_text(
            f"{len(marked)} of {len(held_out)} held-out items"
        )
    tab.locator(".column.right").get_by_role("link", name="show only this run").click()
    expect(tab.locator("#run")).to_contain_text("ease")
    assert_shown(tab, right)
    assert tab.locator(".segments").count() == 0  # this run has one branch


def test_titles_are_shown_as_text(visit: Visit, client: httpx.Client) -> None:
    title = answer(client, f"items/{quote(SCRIPT, safe='')}")["title"]
    assert "<script>" in title
    tab = visit.open(f"?pick={quote(SCRIPT, safe='')}&item={quote(SCRIPT, safe='')}")
    assert tab.locator("#panel-title").text_content() == title
    assert tab.locator(".history-row .tile-title").text_content() == title
    assert tab.locator("main script, dialog script").count() == 0


def test_items_without_a_picture_show_title_brand_and_category(
    visit: Visit, client: httpx.Client
) -> None:
    item = answer(client, f"items/{quote(WITHOUT_PICTURE, safe='')}")
    tab = visit.open(f"?item={quote(WITHOUT_PICTURE, safe='')}")
    cover = tab.locator(".about .cover")
    for value in (item["title"], item["brand"], item["category"]):
        expect(cover).to_contain_text(value)


def test_the_keyboard_is_enough(visit: Visit, client: httpx.Client) -> None:
    tab = visit.open()
    tab.keyboard.press("/")
    assert focused(tab, "x.id") == "query"
    tab.keyboard.type(USER)
    expect(tab.get_by_role("option")).to_have_count(1)
    tab.keyboard.press("ArrowDown")
    assert focused(tab, "x.getAttribute('aria-activedescendant')") == f"user-{USER}"
    tab.keyboard.press("Enter")
    expect(tab.locator("h1")).to_have_text(USER)
    visit.wait()
    # The tab key goes to each control once, and to one tile of each group.
    stops = []
    for _ in range(40):
        tab.keyboard.press("Tab")
        if focused(tab) == "BODY":
            break
        assert focused(tab, "getComputedStyle(x).outlineStyle !== 'none' || x.type === 'radio'")
        stops.append(focused(tab, "x.id || x.className"))
    for stop in ("seen", "k", "category", "branch-fused", "beside", "history-row", "tile", "theme"):
        assert stops.count(stop) == 1, (stop, stops)
    # The arrow keys go from tile to tile.
    order = recommended(client)
    tab.locator(".grid a.tile").first.focus()
    columns = tab.evaluate(
        "new Set([...document.querySelectorAll('.grid li')].map(x => x.offsetLeft)).size"
    )
    here = "x.closest('li').dataset.item"
    for key, place in (("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns)):
        tab.keyboard.press(key)
        assert focused(tab, here) == order[place]
    tab.keyboard.press("ArrowUp")
    assert focused(tab, here) == order[0]
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("dialog")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("dialog")).to_be_hidden()
    assert focused(tab, here) == order[0]
    # And between the branches.
    tab.locator("#branch-fused").focus()
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("#branch-text")).to_be_checked()
    assert focused(tab, "x.id") == "branch-text"


def test_an_unknown_user_and_an_unknown_run(visit: Visit) -> None:
    tab = visit.open("?user=nobody")
    expect(tab.locator(".message")).to_contain_text("“nobody” is not among the 40 users of made-up")
    tab.get_by_role("button", name="Search").click()
    assert focused(tab, "x.id") == "query"
    tab = visit.open(f"?user={USER}&run=gone")
    expect(tab.locator(".message")).to_contain_text("no run 'gone'")
    tab.get_by_role("link", name="Start page", exact=True).click()
    expect(tab.locator(".example")).to_have_count(6)
    visit.faults.clear()  # the browser logs the 404s


def test_a_server_that_is_gone_and_comes_back(visit: Visit, client: httpx.Client) -> None:
    tab = visit.open()
    tab.context.set_offline(True)
    tab.locator(".example").first.click()
    expect(tab.get_by_role("alert")).to_contain_text("The server does not answer.")
    tab.context.set_offline(False)
    tab.get_by_role("button", name="Try again").click()
    expect(tab.locator(".grid li")).not_to_have_count(0)
    visit.faults.clear()  # the browser logs the failed requests


def test_a_busy_server_is_asked_again(visit: Visit) -> None:
    tab = visit.tab
    answers = iter([503])

    def busy_once(route: Any) -> None:
        status = next(answers, None)
        headers = {"Retry-After": "0.1"}
        route.fulfill(status=status, headers=headers) if status else route.continue_()

    tab.route("**/v1/users/*/history*", busy_once)
    visit.open(f"?user={USER}")
    expect(tab.locator(".history-row")).not_to_have_count(0)
    visit.faults.clear()  # the browser logs the 503


def test_outlines_are_in_place_while_the_server_works(visit: Visit, client: httpx.Client) -> None:
    tab, held = visit.tab, []
    tab.route("**/recommendations*", lambda route: held.append(route))
    tab.goto(f"{visit.base}/?user={USER}")
    expect(tab.locator(".grid .outline")).to_have_count(20)
    expect(tab.locator(".history .outline")).to_have_count(6)
    history, results = (tab.locator(place).bounding_box() for place in (".history", ".results"))
    assert history["x"] + history["width"] < results["x"]
    for route in held:
        route.continue_()
    assert_shown(tab, recommended(client))
    expect(tab.locator(".outline")).to_have_count(0)


def test_a_run_without_the_branch_says_so_beside_the_other(visit: Visit) -> None:
    tab = visit.open(f"?user={USER}&branch=text&beside=a-ease")
    expect(tab.locator(".columns .message")).to_contain_text("no branch 'text'")
    expect(tab.locator(".column li")).to_have_count(20)
    visit.faults.clear()  # the browser logs the 404
