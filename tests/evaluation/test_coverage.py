import numpy as np

from brmrs.columns import TEST, TRAIN, VALIDATION
from brmrs.evaluation.coverage import coverage


def test_coverage_by_hand() -> None:
    present = {"text": np.array([True, True, False, True]), "visual": np.zeros(4, dtype=bool)}
    items = np.array([0, 2, 2, 1, 2, 3])
    split = np.array([TRAIN, TRAIN, TRAIN, TRAIN, VALIDATION, TEST])
    found = coverage(present, items, split)
    assert found["text"] == {
        "items": 0.75,
        "interactions": 0.5,
        "train": 0.5,
        "validation": 0.0,
        "test": 1.0,
    }
    assert set(found["visual"].values()) == {0.0}


def test_nothing_has_no_share() -> None:
    nothing = np.array([], dtype=np.int32)
    found = coverage({"text": np.array([True])}, nothing, nothing)
    assert found["text"]["items"] == 1
    assert found["text"]["interactions"] is None
