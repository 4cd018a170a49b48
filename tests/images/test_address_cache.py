import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from brmrs.images.address_cache import AddressCache, link


def content(folder: Path, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{sha256(data).hexdigest()}.jpg"
    file.write_bytes(data)
    return file


def test_the_bytes_of_an_address_are_found(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    AddressCache(kept).add("http://a/1", content(tmp_path / "files", b"one"))
    AddressCache(kept).add("http://a/2", content(tmp_path / "files", b"two"))
    AddressCache(kept).add("http://b/\ud800", content(tmp_path / "files", b"two"))
    later = AddressCache(kept)
    found = [later.find(address) for address in ("http://a/1", "http://a/2", "http://b/\ud800")]
    assert [path.read_bytes() for path in found if path] == [b"one", b"two", b"two"]
    assert later.find("http://a/3") is None


def test_a_damaged_file_is_not_used_and_is_replaced(tmp_path: Path) -> None:
    file = content(tmp_path / "files", b"one")
    AddressCache(tmp_path / "kept").add("a", file)
    (kept,) = (tmp_path / "kept").iterdir()
    kept.unlink()
    kept.write_bytes(b"another")
    assert AddressCache(tmp_path / "kept").find("a") is None
    AddressCache(tmp_path / "kept").add("a", file)
    again = AddressCache(tmp_path / "kept").find("a")
    assert again is not None
    assert again.read_bytes() == b"one"


@pytest.mark.timeout(20)
def test_a_pipe_is_not_used_and_is_replaced(tmp_path: Path) -> None:
    file = content(tmp_path / "files", b"one")
    AddressCache(tmp_path / "kept").add("a", file)
    (kept,) = (tmp_path / "kept").iterdir()
    kept.unlink()
    os.mkfifo(kept)
    assert AddressCache(tmp_path / "kept").find("a") is None
    AddressCache(tmp_path / "kept").add("a", file)
    assert AddressCache(tmp_path / "kept").find("a") == kept


def test_linking_twice_leaves_one_link_and_no_temporary_file(tmp_path: Path) -> None:
    file = content(tmp_path / "files", b"one")
    for _ in range(2):
        link(file, tmp_path / "files" / "copy")
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == sorted(
        [file.name, "copy"]
    )


def test_without_links_the_bytes_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link(content(tmp_path / "files", b"one"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"one"


def test_many_threads_link_one_file(tmp_path: Path) -> None:
    """Two hundred items with one picture, as a second dump reuses them."""
    file = content(tmp_path / "files", b"one")
    cache = AddressCache(tmp_path / "cache")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: cache.add(f"http://a/{n % 2}", file), range(200)))
        list(pool.map(lambda _: link(file, tmp_path / "copy" / "one.jpg"), range(200)))
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["one.jpg"]
