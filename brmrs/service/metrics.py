"""Counters of requests in the Prometheus text format, shared by all workers of a service."""

import os
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import numpy as np

STATUSES = (200, 204, 304, 400, 401, 404, 405, 408, 413, 421, 422, 500, 503)
OTHER = "other"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counters:
    """Numbers of requests by endpoint and status, and their times.

    Each process adds to a file of its own, mapped into memory; an answer sums all files of the
    folder. The files of ended processes stay, so that no counter decreases.
    """

    def __init__(self, folder: Path, endpoints: Iterable[str]):
        self._rows = {name: row for row, name in enumerate([*sorted(endpoints), OTHER])}
        self._shape = (len(self._rows), len(STATUSES) + len(BUCKETS) + 2)
        self._folder = folder
        path = folder / f"{os.getpid()}.counters"
        mapped = np.memmap(path, np.float64, "w+", shape=self._shape)
        self._own = np.asarray(mapped)  # the same memory; a memmap's own indexing is slow

    def add(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request. Called by the event loop only."""
        row = self._own[self._rows.get(endpoint, self._rows[OTHER])]
        row[STATUSES.index(status) if status in STATUSES else STATUSES.index(500)] += 1
        row[len(STATUSES) + bisect_left(BUCKETS, seconds)] += 1
        row[-1] += seconds

    def text(self, gauges: Iterable[tuple[str, str, float]]) -> str:
        """All series.

        Args:
            gauges: further values of this process: name with labels, help, value.
        """
        total = np.zeros(self._shape)
        for path in sorted(self._folder.glob("*.counters")):
            found = np.fromfile(path, np.float64)
            if found.size == total.size:  # a worker that starts has not written its file yet
                total += found.reshape(self._shape)
        name = "brmrs_http_requests_total"
        lines = [f"# HELP {name} Requests.", f"# TYPE {name} counter"]
        for endpoint, row in self._rows.items():
            for place, status in enumerate(STATUSES):
                if count := total[row, place]:
                    labels = f'endpoint="{endpoint}",status="{status}"'
                    lines.append(f"{name}{{{labels}}} {count:.0f}")
        lines += self._times(total)
        for series, help_text, value in gauges:
            bare = series.partition("{")[0]
            lines += [f"# HELP {bare} {help_text}", f"# TYPE {bare} gauge", f"{series} {value:g}"]
        return "\n".join(lines) + "\n"

    def _times(self, total: np.ndarray) -> list[str]:
        name = "brmrs_http_request_seconds"
        lines = [f"# HELP {name} Seconds until the answer.", f"# TYPE {name} histogram"]
        for endpoint, row in self._rows.items():
            counts = total[row, len(STATUSES) : -1].cumsum()
            if not counts[-1]:
                continue
            bounds = [f"{bound:g}" for bound in BUCKETS] + ["+Inf"]
            lines += [
                f'{name}_bucket{{endpoint="{endpoint}",le="{bound}"}} {count:.0f}'
                for bound, count in zip(bounds, counts, strict=True)
            ]
            lines.append(f'{name}_sum{{endpoint="{endpoint}"}} {total[row, -1]:.6f}')
            lines.append(f'{name}_count{{endpoint="{endpoint}"}} {counts[-1]:.0f}')
        return lines
