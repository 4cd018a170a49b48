import time

import numpy as np

from brmrs.machine import describe, high_water, peak_memory

MEGABYTE = 2**20


def hold(megabytes: int) -> None:
    """Long enough to be looked at, whatever else the machine does."""
    block = np.ones(megabytes * MEGABYTE, dtype=np.int8)
    time.sleep(0.3)
    del block


def test_a_peak_is_what_was_held_inside_and_not_before() -> None:
    before = high_water()
    with peak_memory() as large:
        hold(400)
    assert large.bytes == high_water() > before
    with peak_memory() as small:
        hold(100)
    assert high_water() == large.bytes
    assert large.bytes - 350 * MEGABYTE < small.bytes < large.bytes - 200 * MEGABYTE


def test_work_that_fails_is_measured_too() -> None:
    try:
        with peak_memory() as peak:
            raise RuntimeError
    except RuntimeError:
        assert 0 < peak.bytes <= high_water()


def test_a_machine_tells_what_tells_it_apart() -> None:
    assert set(describe()) == {"platform", "python", "cpus"}
