import json
from pathlib import Path

import pytest
from misbehaving_server import Server, config, served  # noqa: F401 - a fixture
from pictures import encoded
from PIL import Image

from brmrs.images.amazon import full_size, is_placeholder, to_try
from brmrs.images.decode import MIN_SIDE, Status, check
from brmrs.images.picture_store import PictureStore
from brmrs.images.stage import SHARED, gather, shared, write

HOST = "https://images-na.ssl-images-amazon.com/images"


@pytest.mark.parametrize(
    "path",
    [
        "G/01/x-site/icons/no-img-sm._CB192198896_.gif",
        "G/01/x-site/icons/no-img-sm.gif",
        "G/01/nav2/dp/no-image-no-ciu._SL75_.gif",
        "I/01RmK+J4pJL.gif",
        "I/01RmK%2BJ4pJL._SS40_.gif?x=1",
        "I/01QFb8SNuTL.jpg",
        "I/01PkLIhTX3L._AC_US40_.jpg",
        "I/01MKUOLsA5L.gif",
        "I/31CTP6oiIBL._SL1000_.jpg",
    ],
)
def test_known_placeholders(path: str) -> None:
    assert is_placeholder(f"{HOST}/{path}")


@pytest.mark.parametrize(
    "address",
    [
        f"{HOST}/I/51fAmVkTbyL.jpg",
        f"{HOST}/no-img-sm/51f.jpg",
        f"{HOST}/I/no-imgination.jpg",
        "",
        "[",
    ],
)
def test_addresses_that_are_not_placeholders(address: str) -> None:
    assert not is_placeholder(address)


@pytest.mark.parametrize(
    ("address", "full"),
    [
        ("I/51abc._SS40_.jpg", "I/51abc.jpg"),
        ("I/51abc._SX300_SY300_QL70_ML2_.jpg", "I/51abc.jpg"),
        ("I/51abc._AC_US40_.jpg?a=b", "I/51abc.jpg"),
        ("I/51a+b-cL._SY445_.png", "I/51a+b-cL.png"),
        ("I/51abc.jpg", "I/51abc.jpg"),
        ("I/51abc._x.jpg", "I/51abc._x.jpg"),
        ("._SS40_/51abc.jpg", "._SS40_/51abc.jpg"),
    ],
)
def test_the_full_size_of_a_thumbnail(address: str, full: str) -> None:
    assert full_size(f"{HOST}/{address}") == f"{HOST}/{full}"


def test_addresses_in_the_order_to_try_them() -> None:
    small, large, other = "http://a/b._SS40_.jpg", "http://a/b.jpg", "http://a/c.jpg"
    assert to_try([small, other, small], enlarge=False) == (small, other)
    assert to_try([small, other, large], enlarge=True) == (large, small, other)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (MIN_SIDE - 1, 500), (500, 1)])
def test_a_few_pixels_are_no_picture(size: tuple[int, int]) -> None:
    for form in ("GIF", "PNG", "JPEG"):
        data = encoded(Image.new("L", size), form)
        assert check(data, 10**6, 10**6).status == Status.PLACEHOLDER
    assert check(encoded(Image.new("L", (8, 8)), "PNG"), 10**6, 10**6).status == Status.OK


def test_placeholders_are_no_pictures(server: Server, tmp_path: Path) -> None:
    """Twelve items: five photos, four times a GIF of one pixel, three times "no image"."""
    pixel = server.url("few-pixels")
    urls: list[tuple[str, ...]] = [(server.url(f"numbered/{n}"),) for n in range(4)]
    urls += [(pixel, server.url("numbered/4"))]  # the next address is tried
    urls += [(pixel,)] * 4
    urls += [(server.url("photo/no-img-sm._V1_.gif"),)] * 2
    urls += [(server.url("redirect-far?/photo/01RmK+J4pJL.gif"),)]
    found = gather([str(n) for n in range(12)], urls, config(), PictureStore(tmp_path))
    assert [p.status for p in found] == [Status.OK] * 5 + [Status.PLACEHOLDER] * 7
    assert not any("photo" in path and "redirect" not in path for path in server.log)


def test_pictures_that_many_items_share_are_counted(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    urls = [(server.url(f"numbered/{n}?{k}"),) for n, k in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1))]
    urls[:3] = [(server.url("photo"),), (server.url("photo?1"),), (server.url("redirect"),)]
    urls[3:] = [(server.url("numbered/2"),)] * 2
    found = gather(list("ABCDE"), urls, config(), PictureStore(tmp_path / "scratch"))
    write(found, tmp_path)
    assert json.loads((tmp_path / SHARED).read_text()) == shared(found)
    assert shared(found) == {
        "pictures": 1,
        "items": 3,
        "most": [{"sha256": found[0].sha256, "items": 3, "source": server.url("photo")}],
    }
    assert shared(found[2:])["pictures"] == 0


def test_the_full_size_is_fetched_where_it_exists(server: Server, tmp_path: Path) -> None:
    urls = [(server.url("photo/1._SS40_.jpg"),), (server.url("thumbnail-alone/2._SS40_.jpg"),)]
    found = gather(["A", "B"], urls, config(full_size=True), PictureStore(tmp_path / "full"))
    assert [p.source for p in found] == [server.url("photo/1.jpg"), urls[1][0]]
    found = gather(["A", "B"], urls, config(), PictureStore(tmp_path / "as they are"))
    assert [p.source for p in found] == [urls[0][0], urls[1][0]]
