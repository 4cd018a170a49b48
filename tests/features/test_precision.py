import numpy as np
import pytest
import torch
from torch import nn

from brmrs.features import precision
from brmrs.features.precision import choose, cosines, has_bf16, in_bf16, processor
from brmrs.system.files import digest_json


class Fine(nn.Module):
    """Its bf16 vectors are nearly its fp32 ones."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        nn.init.normal_(self.linear.weight, generator=torch.Generator().manual_seed(0))

    def probe(self, inputs: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(self.linear(inputs.to(self.linear.weight.dtype)).float())


class Cancelling(Fine):
    """What it gives is a small difference of large numbers, which bf16 rounds away."""

    def probe(self, inputs: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            result = self.linear(inputs.to(self.linear.weight.dtype)) + 1000 - 1000
            return np.asarray(result.float())


INPUTS = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("wanted", "model", "hardware", "expected"),
    [
        ("auto", Fine, True, "bf16"),
        ("auto", Fine, False, "fp32"),
        ("auto", Cancelling, True, "fp32"),
        ("bf16", Cancelling, False, "bf16"),
        ("fp32", Fine, True, "fp32"),
    ],
)
def test_bf16_where_it_is_fast_and_as_good(
    wanted: str, model: type[Fine], hardware: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: hardware)
    original = model()
    chosen, name = choose(wanted, original, lambda module: module.probe(INPUTS))  # type: ignore[arg-type]
    assert name == expected
    assert (chosen is original) == (expected == "fp32")
    assert original.linear.weight.dtype == torch.float32
    assert next(chosen.parameters()).dtype == (
        torch.float32 if expected == "fp32" else torch.bfloat16
    )


def test_running_statistics_stay_in_fp32() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    variance = torch.full((4,), 1.001)  # bf16 knows 1 and 1.0078
    model.load_state_dict({**model.state_dict(), "1.running_var": variance})
    fast = in_bf16(model)
    state = fast.state_dict()
    assert state["0.weight"].dtype == torch.bfloat16
    assert torch.equal(state["1.running_var"], variance)
    assert state["1.weight"].dtype == torch.float32
    assert fast(torch.ones(1, 3, 2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_cosines_by_hand() -> None:
    one = np.array([[3, 4], [0, 0], [1, 0], [0, 0], [np.nan, 1]], dtype=np.float32)
    other = np.array([[6, 8], [0, 0], [0, 2], [0, 1], [1, 1]], dtype=np.float32)
    assert cosines(one, other) == pytest.approx([1, 1, 0, -1, -1])


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False}, False),
        ({"avx2": True}, False),
    ],
)
def test_bf16_depends_on_the_hardware(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16() is expected


def test_another_processor_has_another_description(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [processor()]
    assert found == [processor()]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "cores": 1})
    found.append(processor())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("NVIDIA H200", "NVIDIA A100"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=name: name)
        found.append(processor())
    assert len({digest_json(each) for each in found}) == 4
