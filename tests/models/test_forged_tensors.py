"""Bundles whose tensors were forged, with digests that fit: refused in one line, or they rank."""

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_scorers import KINDS, saved_and_loaded
from torch import Tensor

from brmrs.errors import UserError
from brmrs.models import bundle
from brmrs.models.scorers import SCORERS
from brmrs.models.tensor_checks import SHAPES
from brmrs.serving.recommend import recommend, similar
from brmrs.system.files import digest_file

EXAMPLES = int(os.environ.get("BRMRS_FUZZ", "25"))
TYPES = [torch.float32, torch.float16, torch.float64, torch.int64, torch.int32, torch.bool]


def test_every_kind_has_checks() -> None:
    assert SHAPES.keys() == SCORERS.keys()


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    saved_and_loaded(request.param, folder)
    return folder


def rewrite(folder: Path, tensors: dict[str, Tensor], to: Path) -> None:
    """Write a bundle with other tensors and fitting digests."""
    with safe_open(folder / bundle.TENSORS, "pt") as file:
        header = file.metadata()
    save_file(
        {name: each.contiguous() for name, each in tensors.items()}, to / bundle.TENSORS, header
    )
    about = json.loads((folder / bundle.DESCRIPTION).read_text())
    about["tensors_sha256"] = digest_file(to / bundle.TENSORS)
    (to / bundle.DESCRIPTION).write_text(json.dumps(about))


@st.composite
def forged(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    """Another type, another shape, or other values."""
    kind = draw(st.sampled_from(["type", "cut", "repeat", "flat", "value", "new"]))
    if kind == "type":
        return tensor.to(draw(st.sampled_from(TYPES)))
    if kind == "cut":
        return tensor[: draw(st.integers(0, max(0, len(tensor) - 1)))]
    if kind == "repeat":
        return torch.cat([tensor, tensor])
    if kind == "flat":
        return tensor.reshape(-1)
    if kind == "new":
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        return torch.ones(shape, dtype=draw(st.sampled_from(TYPES)))
    flat = tensor.clone().reshape(-1)
    if len(flat):
        flat[draw(st.integers(0, len(flat) - 1))] = draw(
            st.sampled_from([-1, 0, 1, 10**6, 2**31 - 1])
            if tensor.dtype != torch.bool
            else st.just(0)
        )
    return flat.reshape(tensor.shape)


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_forged_tensors(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    tensors = load_file(folder / bundle.TENSORS)
    names = sorted(name for name in tensors if not name.startswith("state."))
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        tensors[name] = data.draw(forged(tensors[name]), label=name)
    rewrite(folder, tensors, tmp_path)
    try:
        loaded = bundle.load(tmp_path)
        for user in loaded.about.users[:2]:
            recommend(loaded, user, 3)
        similar(loaded, loaded.about.items[-1], 3)
    except UserError as error:
        assert "\n" not in str(error)
