"""The results that Prefect reads back from the store."""

import json
from pathlib import Path

import pytest

pytest.importorskip("prefect")


def test_a_class_tag_in_a_result_is_data_and_nothing_is_called(tmp_path: Path) -> None:
    from tasks.stage import PLAIN_JSON

    proof = tmp_path / "called"
    tagged = {"__class__": "subprocess.getoutput", "data": {"cmd": f"touch {proof}"}}
    assert PLAIN_JSON.loads(json.dumps({"notes": tagged}).encode()) == {"notes": tagged}
    assert not proof.exists()
