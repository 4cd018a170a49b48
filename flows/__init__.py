"""The flows, each the table of contents of its work, and the `brmrs` command."""

import os

# Before torch is loaded. Threads that spin while they wait for each other make training several
# times slower as soon as anything else wants the cores; threads that sleep at once make it twice as
# slow when nothing does. These spin for about a tenth of a millisecond, then sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
