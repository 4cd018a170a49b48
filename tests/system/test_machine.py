import subprocess
import sys

from brmrs.system.machine import describe, high_water, peak_memory

# In a process of its own: this one may have held more than any test will.
HOLD = """
import time
import numpy as np
from brmrs.system.machine import high_water, peak_memory

def hold(megabytes):  # long enough to be looked at, whatever else the machine does
    block = np.ones(megabytes * 2**20, dtype=np.int8)
    time.sleep(0.3)

before = high_water()
with peak_memory() as large:
    hold(400)
highest = high_water()
with peak_memory() as small:
    hold(100)
print(before, large.bytes, highest, small.bytes, high_water())
"""


def test_a_peak_is_what_was_held_inside_and_not_before() -> None:
    told = subprocess.run([sys.executable, "-c", HOLD], check=True, capture_output=True, text=True)
    before, large, highest, small, last = map(int, told.stdout.split())
    assert large == highest == last > before
    assert large - 350 * 2**20 < small < large - 200 * 2**20


def test_work_that_fails_is_measured_too() -> None:
    try:
        with peak_memory() as peak:
            raise RuntimeError
    except RuntimeError:
        assert 0 < peak.bytes <= high_water()


def test_a_machine_tells_what_tells_it_apart() -> None:
    assert set(describe()) == {"platform", "python", "cpus"}
