"""Freed memory is kept by the process: what a step allocates again costs no page fault."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from brmrs.system.heap import keep_freed_memory

PAGE = 4096  # bytes
SMALL, LARGE = 2**21, 2**24  # float32: 8 MB, more than glibc keeps by itself, and 64 MB
IN_THREAD = 2 * LARGE  # more than glibc's arenas for threads hold

PARTS = """
import flows
from concurrent.futures import ThreadPoolExecutor
from torch import nn
from brmrs.system.heap import freed_memory_kept
from brmrs.training.trainer import freed_memory_reused
from tests.system.test_heap import IN_THREAD, LARGE, SMALL, faults
"""
IN_A_THREAD = """
with freed_memory_kept(), ThreadPoolExecutor() as stage:
    print(stage.submit(faults, IN_THREAD).result())
"""
WHILE_TRAINING = """
with freed_memory_reused(nn.Linear(2**12, 2**12)):  # 64 MB
    print(faults(LARGE))
with freed_memory_reused(nn.Linear(2**5, 2**5)):
    print(faults(SMALL))
"""
WHILE_KEPT = """
with freed_memory_kept():
    print(faults(LARGE))
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


def measured(code: str) -> list[int]:
    """What the code prints in a process of its own.

    Here other tests' threads have had arenas since before `flows`, and a worker of pytest-xdist may
    run tests in a thread.
    """
    root, command = Path(__file__).parents[2], [sys.executable, "-c", PARTS + code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def test_blocks_of_any_size_are_kept_in_the_thread_of_a_stage() -> None:
    (found,) = measured(IN_A_THREAD)
    assert found < 4 * IN_THREAD / PAGE


def test_training_keeps_what_is_as_large_as_its_tables() -> None:
    large, small = measured(WHILE_TRAINING)
    assert large < 4 * LARGE / PAGE
    assert small < 4 * SMALL / PAGE


def test_blocks_of_any_size_are_kept_while_it_lasts() -> None:
    (found,) = measured(WHILE_KEPT)
    assert found < 4 * LARGE / PAGE
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(LARGE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt > before  # given back
