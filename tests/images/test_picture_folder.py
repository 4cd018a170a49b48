import logging
import os
import unicodedata
from hashlib import sha256
from pathlib import Path

import pytest
from misbehaving_server import Server, config, served  # noqa: F401 - a fixture
from pictures import jpeg

from brmrs.config.data import ImagesConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.images.decode import Picture, Status
from brmrs.images.folder import by_item
from brmrs.images.picture_store import PictureStore
from brmrs.images.stage import gather
from brmrs.store.fingerprint import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def found(folder: Path, *ids: str, url: str = "") -> list[Picture]:
    urls = [(url,) if url else ()] * len(ids)
    return gather(ids, urls, config(folder=folder), PictureStore(folder.parent / "scratch"))


def sources(pictures: list[Picture]) -> list[str | None]:
    return [picture.source for picture in pictures]


def test_a_file_wins_over_an_address(server: Server, folder: Path) -> None:
    (folder / "A.png").write_bytes(jpeg(1))
    (folder / "A.jpeg").write_bytes(jpeg(2))
    (folder / "C.jpg").mkdir()
    pictures = found(folder, "A", "C", url=server.url("photo"))
    assert [picture.status for picture in pictures] == [Status.OK, Status.OK]
    assert pictures[0].source == "A.jpeg"
    assert pictures[0].sha256 == sha256(jpeg(2)).hexdigest()
    assert server.log == ["/photo"]


def test_the_first_file_that_is_a_picture_counts(folder: Path) -> None:
    (folder / "B1.json").write_text('{"asin": "B1"}')
    (folder / "B1.png").write_bytes(jpeg(1))
    (folder / "B2.jpg").touch()
    (folder / "B2.png").write_bytes(jpeg(2))
    (folder / "B3.jpg").write_bytes(b"<html>")
    (folder / "B3.txt").touch()
    pictures = found(folder, "B1", "B2", "B3")
    assert sources(pictures) == ["B1.png", "B2.png", "B3.jpg"]
    assert [picture.status for picture in pictures] == [Status.OK, Status.OK, Status.NOT_AN_IMAGE]


def test_the_address_of_an_item_with_a_broken_file_is_tried(server: Server, folder: Path) -> None:
    (folder / "A.jpg").write_bytes(jpeg()[:200])
    (folder / "B.jpg").touch()
    (picture,) = found(folder, "A", url=server.url("photo"))
    assert (picture.status, picture.source) == (Status.OK, server.url("photo"))
    (picture,) = found(folder, "B", url=server.url("absent"))
    assert (picture.status, picture.source) == (Status.NOT_AN_IMAGE, "B.jpg")
    (picture,) = found(folder, "B", url=server.url("broken"))
    assert picture.status == Status.BUSY  # the next run may get it


def test_sub_folders_and_numbered_files(folder: Path) -> None:
    for number, name in enumerate(
        [
            "a/B1_1.jpg",
            "b/B1_0.jpg",
            "b/B1_10.jpg",
            "a/B2.jpg",
            "B2_0.jpg",
            "B3-0.jpg",
            "c/d/B4.jpg",
        ]
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(number))
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "B5.jpg").write_bytes(jpeg())
    pictures = found(folder, "B1", "B2", "B3", "B4", "B5")
    assert sources(pictures) == ["B1_0.jpg", "B2.jpg", "B3-0.jpg", "B4.jpg", None]


def test_an_id_with_a_number_is_not_taken_for_a_numbered_file(folder: Path) -> None:
    (folder / "B1_0.jpg").write_bytes(jpeg())
    assert sources(found(folder, "B1", "B1_0")) == [None, "B1_0.jpg"]


@pytest.mark.parametrize(
    ("name", "item"),
    [("10105.jpg", "SKU-10105"), ("b0001.jpg", "B0001"), ("x/main.jpg", "x")],
)
def test_names_that_hardly_match_are_warned_of(
    name: str, item: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(jpeg())
    found(folder, item, *(f"\x1b[31m{n}" for n in range(9)))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "0 of 10 items have a file there, and 0 of 1 files belong to an item" in record.message
    assert f"'{name}'" in record.message
    assert "'\\x1b[31m0', '\\x1b[31m1', '\\x1b[31m2'" in record.message
    assert "'\\x1b[31m3'" not in record.message


def test_no_warning_where_most_files_or_most_items_match(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "A.jpg").write_bytes(jpeg())
    found(folder, "A", *map(str, range(9)))
    for number in range(9):
        (folder / f"other {number}.jpg").touch()
    found(folder, "A")
    assert not caplog.records


def test_unreadable_entries_are_left_out_and_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "A.jpg").write_bytes(jpeg())
    (folder / "B.jpg").symlink_to(folder / "B.jpg")
    (folder / "C.jpg").symlink_to(folder / "nowhere")
    (folder / "D.jpg").symlink_to(folder / "A.jpg")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    assert sources(found(folder, "A", "B", "C", "D")) == ["A.jpg", None, None, "D.jpg"]
    (record,) = caplog.records
    assert "2 of its entries cannot be read and are left out: 'B.jpg', 'C.jpg'" in record.message
    settings = PipelineConfig(images=ImagesConfig(folder=folder))
    entry = fingerprint(settings, ["image_folder"])["image_folder"]
    assert [file["name"] for file in entry["files"]] == ["A.jpg", "D.jpg"]


@pytest.mark.parametrize(
    "asin",
    ["../secret", "secret/../../secret", "/etc/passwd", "..", "", "a" * 10_000, "\x00", "é/"],
)
def test_ids_never_become_paths(asin: str, folder: Path) -> None:
    (folder.parent / "secret.jpg").write_bytes(jpeg())
    assert found(folder, asin) == [Picture(Status.MISSING)]


def test_odd_file_names(folder: Path) -> None:
    (folder / "B00.1 x.jpg").write_bytes(jpeg())
    with open(os.fsencode(folder) + b"/C.\xff", "wb") as file:
        file.write(jpeg())
    (folder / "D[1]*?.jpg").write_bytes(jpeg())
    assert sources(found(folder, "B00.1 x", "C", "D[1]*?")) == ["B00.1 x.jpg", "C.?", "D[1]*?.jpg"]


def test_a_name_of_composed_characters_is_the_id_of_single_ones(folder: Path) -> None:
    """Archives made on a Mac hold "é" as e and an accent."""
    decomposed = unicodedata.normalize("NFD", "café")
    (folder / f"{decomposed}.jpg").write_bytes(jpeg(1))
    (folder / f"{decomposed}2_0.jpg").write_bytes(jpeg(2))
    (folder / f"{decomposed}3.jpg").write_bytes(jpeg(3))
    (folder / "café3.jpg").write_bytes(jpeg(4))
    pictures = by_item(folder, ["café", "café2", "café3", f"{decomposed}3"])
    assert {item: [path.name for path in paths] for item, paths in pictures.items()} == {
        "café": [f"{decomposed}.jpg"],
        "café2": [f"{decomposed}2_0.jpg"],
        "café3": ["café3.jpg"],
        f"{decomposed}3": [f"{decomposed}3.jpg"],
    }


def test_a_file_that_the_data_name_may_have_composed_characters(folder: Path) -> None:
    file = folder / f"{unicodedata.normalize('NFD', 'café')}.jpg"
    file.write_bytes(jpeg())
    assert by_item(folder, ["A"], {"A": ["images/café.jpg"]}) == {"A": [file]}


def test_local_limits(folder: Path) -> None:
    (folder / "A.jpg").write_bytes(jpeg() + bytes(300_000))
    (picture,) = found(folder, "A")
    assert picture.status == Status.TOO_LARGE


@pytest.mark.parametrize("name", ["absent", "file.txt"])
def test_a_path_that_is_not_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(UserError, match=r"images\.folder"):
        found(tmp_path / name, "A")


def test_files_that_the_data_name_come_first(tmp_path: Path) -> None:
    """By the longest end of the name that is a file in the folder; never as a path."""
    for name in ("a.jpg", "sub/b.jpg", "i.jpg", "other.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path.parent / "secret.jpg").write_bytes(b"x")
    named = {
        "i": ["pictures/a.jpg", "sub\\b.jpg"],
        "j": ["../secret.jpg", "/etc/passwd", "gone.jpg"],
        "k": ["./sub/b.jpg"],
    }
    found = by_item(tmp_path, ["i", "j", "k"], named)
    relative = {
        item: [path.relative_to(tmp_path).as_posix() for path in paths]
        for item, paths in found.items()
    }
    assert relative == {"i": ["a.jpg", "sub/b.jpg", "i.jpg"], "k": ["sub/b.jpg"]}
