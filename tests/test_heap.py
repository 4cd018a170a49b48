"""Freed memory is kept by the process: what a step allocates again costs no page fault."""

import resource
import sys

import pytest
import torch

from brmrs.heap import keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted on Linux")
def test_what_is_freed_is_had_again_without_page_faults() -> None:
    keep_freed_memory()
    size = 2**24  # float32: 64 MB, 16,384 pages; more than glibc keeps by itself
    for _ in range(3):
        torch.zeros(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(size)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 16_384
