"""The memory that is free: what the kernel says, or the container's limit where that is less."""

from pathlib import Path

import pytest
import torch

from brmrs.system import memory, ram

CPU = torch.device("cpu")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is told, until a test writes it."""
    monkeypatch.setattr(ram, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(ram, "CGROUP", tmp_path)
    return tmp_path


def limit(system: Path, most: str, used: str, cached: int = 0) -> None:
    (system / "memory.max").write_text(most + "\n")
    (system / "memory.current").write_text(used + "\n")
    parts = f"anon 7\nfile {2 * cached}\ninactive_file {cached}\nactive_file {cached}\n"
    (system / "memory.stat").write_text(parts)


def test_unknown_where_nothing_is_told(system: Path) -> None:
    assert memory.free_memory(CPU) is None
    (system / "meminfo").write_text("MemTotal: 10 kB\n")
    limit(system, "max", "5")
    assert memory.free_memory(CPU) is None


def test_the_smaller_of_machine_and_container(system: Path) -> None:
    (system / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable:    8 kB\n")
    assert memory.free_memory(CPU) == 8192
    limit(system, "max", "5")
    assert memory.free_memory(CPU) == 8192
    limit(system, "6000", "5000")
    assert memory.free_memory(CPU) == 1000
    limit(system, "6000", "7000")
    assert memory.free_memory(CPU) == 0


def test_files_that_the_container_read_are_no_memory_in_use(system: Path) -> None:
    limit(system, "6000", "5900", cached=1000)
    assert memory.free_memory(CPU) == 2100


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_of_a_gpu() -> None:
    free = memory.free_memory(torch.device("cuda"))
    assert free is not None
    assert free > 0
