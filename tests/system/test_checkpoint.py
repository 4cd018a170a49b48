import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brmrs.system import checkpoint

CPU = torch.device("cpu")
STATE = {"epoch": 3, "values": torch.arange(5.0), "curve": [(1, "loss", "bpr", 0.5)]}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "scratch" / "c.pt"
    checkpoint.save(path, STATE)
    loaded = checkpoint.load(path, CPU)
    assert loaded is not None
    assert torch.equal(loaded["values"], STATE["values"])  # type: ignore[arg-type]
    assert (loaded["epoch"], loaded["curve"]) == (3, STATE["curve"])
    assert [file.name for file in path.parent.iterdir()] == ["c.pt"]


def test_a_link_in_place_of_the_temporary_file_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "c.part").symlink_to(tmp_path / "mine")
    checkpoint.save(tmp_path / "c.pt", STATE)
    assert (tmp_path / "mine").read_text() == "precious"
    assert checkpoint.load(tmp_path / "c.pt", CPU) is not None


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "c.pt", CPU) is None


def damage(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    cut = {f"first {size} bytes": content[:size] for size in (0, 1, 31, 32, 33, middle)}
    flipped = {
        f"bit at {at}": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        for at in (0, 40, middle, len(content) - 1)
    }
    return {**cut, **flipped, "text": b"not a checkpoint", "longer": content + b"x"}


def test_a_damaged_one_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, STATE)
    for name, content in damage(path.read_bytes()).items():
        path.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert checkpoint.load(path, CPU) is None, name
        assert "c.pt" in caplog.text, name


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_another_kind_of_file_is_ignored_with_a_warning(
    tmp_path: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "c.pt")
    assert checkpoint.load(tmp_path / "c.pt", CPU) is None
    assert "c.pt is no regular file" in caplog.text


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("was-here"),))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint.save(tmp_path / "c.pt", {"evil": Evil()})
    assert checkpoint.load(tmp_path / "c.pt", CPU) is None
    assert not Path("was-here").exists()
