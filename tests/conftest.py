"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real inputs that may not be redistributed; tests that use them skip where they are absent."""
    root = Path(os.environ.get("BRMRS_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"no shared data at {root}")
    return root
