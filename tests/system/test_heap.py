"""Freed memory is kept by the process: what a step allocates again costs no page fault."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from brmrs.system.heap import freed_memory_kept, keep_freed_memory
from brmrs.training.trainer import freed_memory_reused

PAGE = 4096  # bytes
SMALL, LARGE = 2**21, 2**24  # float32: 8 MB, more than glibc keeps by itself, and 64 MB
IN_THREAD = 2 * LARGE  # more than glibc's arenas for threads hold

IN_A_THREAD = f"""
import flows
from concurrent.futures import ThreadPoolExecutor
from brmrs.system.heap import freed_memory_kept
from tests.system.test_heap import faults

with freed_memory_kept(), ThreadPoolExecutor() as stage:
    print(stage.submit(faults, {IN_THREAD}).result())
"""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="page faults are counted on Linux"
)


def faults(size: int) -> int:
    """Page faults of asking for so many floats ten times over, after the first times."""
    for _ in range(10):
        torch.zeros(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_what_is_freed_is_had_again_without_page_faults() -> None:
    keep_freed_memory()
    assert faults(SMALL) < 4 * SMALL / PAGE


def test_blocks_of_any_size_are_kept_in_the_thread_of_a_stage() -> None:
    """Of a process of its own: here other tests' threads have had arenas since before `flows`."""
    root, command = Path(__file__).parents[2], [sys.executable, "-c", IN_A_THREAD]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4 * IN_THREAD / PAGE


def test_training_keeps_what_is_as_large_as_its_tables() -> None:
    with freed_memory_reused(nn.Linear(2**12, 2**12)):  # 64 MB
        assert faults(LARGE) < 4 * LARGE / PAGE
    with freed_memory_reused(nn.Linear(2**5, 2**5)):
        assert faults(SMALL) < 4 * SMALL / PAGE


def test_blocks_of_any_size_are_kept_while_it_lasts() -> None:
    with freed_memory_kept():
        assert faults(LARGE) < 4 * LARGE / PAGE
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(LARGE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt > before  # given back
