import numpy as np
import pytest
import torch

from brmrs.diagnosis.information import bits_of_pairs, decomposition, fit
from brmrs.diagnosis.scan import Scan
from brmrs.diagnosis.schemas import PARTS

PAIRS = 4000


def scan_of(text: torch.Tensor, visual: torch.Tensor, fused: torch.Tensor) -> Scan:
    """A scan of one negative per pair, whose scores are 0; the positives' are the margins."""
    zeros = torch.zeros(len(text))
    scores = {
        name: torch.stack([margin, zeros], dim=1)
        for name, margin in (("text", text), ("visual", visual), ("fused", fused))
    }
    nothing = torch.empty(0)
    return Scan(nothing, nothing, nothing, nothing, scores, {}, nothing, {}, nothing)


def parts(case: str, seed: int = 0) -> dict[str, float]:
    """The parts where the margins tell what the case says."""
    generator = torch.Generator().manual_seed(seed)

    def noise() -> torch.Tensor:
        return torch.randn(PAIRS, generator=generator)

    def telling() -> torch.Tensor:
        return noise() + 1.5

    found = []
    for _ in range(2):  # validation, test
        signal, silence = telling(), noise() * 0.01
        text, visual, fused = {
            "text": (signal, noise(), signal),
            "either": (signal, signal, signal),
            "only the fusion": (noise(), noise(), signal),
            "a sum": (telling(), telling(), silence),
            "nothing": (noise(), noise(), noise()),
        }[case]
        found.append(scan_of(text, visual, fused))
    known = bits_of_pairs(*found).mean(axis=0)
    return dict(zip(PARTS, decomposition(known[None])[0], strict=True))


@pytest.mark.parametrize(
    ("case", "part"),
    [
        ("text", "text_alone"),
        ("either", "either"),
        ("only the fusion", "both_beyond_sum"),
    ],
)
def test_the_part_that_holds_everything(case: str, part: str) -> None:
    found = parts(case)
    assert found.pop(part) > 0.3
    assert all(abs(value) < 0.02 for value in found.values()), found


def test_two_noisy_estimates_are_common_and_a_sum() -> None:
    """As the module states: averaging counts as both_by_sum."""
    found = parts("a sum")
    assert found["either"] > 0.3
    assert found["both_by_sum"] > 0.1
    assert abs(found["both_beyond_sum"]) < 0.02


def test_nothing_is_told_by_noise() -> None:
    assert all(abs(value) < 0.01 for value in parts("nothing").values())


def test_the_fit_is_the_minimum() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0.4, 1, (500, 3))
    weights = fit(margins)

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -margins @ w).mean())

    for _ in range(20):
        assert loss(weights) <= loss(weights + rng.normal(0, 0.05, 3)) + 1e-9


def test_margins_that_separate_all_pairs_keep_the_weights_finite() -> None:
    assert np.isfinite(fit(np.ones((10, 1)))).all()
    assert np.isfinite(fit(np.zeros((10, 2)))).all()
