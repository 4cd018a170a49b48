"""The flows and the `brmrs` command."""

import contextlib
import ctypes
import os

# Must be set before torch is loaded. Waiting threads that only spin make training several times
# slower if other work needs the cores. Threads that sleep at once make it twice as slow otherwise.
# These spin for about a tenth of a millisecond, then sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Stages run in threads. glibc would give each a separate arena in pieces of 64 MB and return larger
# blocks to the kernel at once, in spite of `brmrs.system.heap`. So all share one arena.
_ARENA_MAX = -8  # of glibc's <malloc.h>
with contextlib.suppress(AttributeError):  # another C library
    ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
