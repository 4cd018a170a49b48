"""The counters that the workers of a service share."""

import os
from pathlib import Path

from brmrs.service.metrics import Counters


def test_files_of_other_workers_count_once_they_are_whole(tmp_path: Path) -> None:
    counters = Counters(tmp_path, ["status"])
    counters.add("status", 200, 0.001)
    own = (tmp_path / f"{os.getpid()}.counters").read_bytes()
    (tmp_path / "0.counters").write_bytes(own)  # a worker that ended
    (tmp_path / "1.counters").write_bytes(b"")  # a worker that starts
    (tmp_path / "2.counters").write_bytes(own[:-8])
    series = 'brmrs_http_requests_total{endpoint="status",status="200"} 2'
    assert series in counters.text([]).splitlines()
