from hashlib import sha256
from pathlib import Path

import pytest

from brmrs.images.kept import KeptPictures, link


def content(folder: Path, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{sha256(data).hexdigest()}.jpg"
    file.write_bytes(data)
    return file


def test_an_address_leads_to_its_bytes(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    KeptPictures(kept).keep("http://a/1", content(tmp_path / "files", b"one"))
    KeptPictures(kept).keep("http://a/2", content(tmp_path / "files", b"two"))
    KeptPictures(kept).keep("http://b/\ud800", content(tmp_path / "files", b"two"))
    later = KeptPictures(kept)
    found = [later.find(address) for address in ("http://a/1", "http://a/2", "http://b/\ud800")]
    assert [path.read_bytes() for path in found if path] == [b"one", b"two", b"two"]
    assert later.find("http://a/3") is None


def test_damage_is_no_picture_and_a_new_one_takes_its_place(tmp_path: Path) -> None:
    file = content(tmp_path / "files", b"one")
    KeptPictures(tmp_path / "kept").keep("a", file)
    (kept,) = (tmp_path / "kept").iterdir()
    kept.unlink()
    kept.write_bytes(b"another")
    assert KeptPictures(tmp_path / "kept").find("a") is None
    KeptPictures(tmp_path / "kept").keep("a", file)
    again = KeptPictures(tmp_path / "kept").find("a")
    assert again is not None
    assert again.read_bytes() == b"one"


def test_a_link_is_made_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
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
