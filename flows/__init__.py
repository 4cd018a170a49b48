"""The flows, each the table of contents of its work, and the `brmrs` command."""

import contextlib
import ctypes
import os

# Before torch is loaded. Threads that spin while they wait for each other make training several
# times slower as soon as anything else wants the cores; threads that sleep at once make it twice as
# slow when nothing does. These spin for about a tenth of a millisecond, then sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Stages run in threads, to which glibc gives arenas of their own, in pieces of 64 MB: what is
# larger goes back to the kernel at once, whatever `brmrs.system.heap` asks for. So all share one
# arena.
_ARENA_MAX = -8  # of glibc's <malloc.h>
with contextlib.suppress(AttributeError):  # another C library
    ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
