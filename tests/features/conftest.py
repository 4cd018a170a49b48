from collections.abc import Iterator

import pytest
from misbehaving_server import Server

from brmrs.features import fetch


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch, "BACKOFF", 0.02)
    with Server() as running:
        yield running
