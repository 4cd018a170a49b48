import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import jpeg, photo
from PIL import Image
from torchvision.models import get_model_weights
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

from brmrs.features.visual import backbones
from brmrs.features.visual.pixels import AHEAD, FEW, LONGEST, Fit, Preprocessing, batches, decode

SMALL = Preprocessing(shorter=36, size=32)


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([(36, 32), (32, 32), (40, 31)]))
@settings(max_examples=40)
def test_pixels_are_those_of_torchvision(width: int, height: int, sizes: tuple[int, int]) -> None:
    if max(width, height) > LONGEST * min(width, height):
        return
    image, (shorter, size) = photo(size=(width, height)), sizes
    expected = pil_to_tensor(center_crop(resize(image, [shorter], antialias=True), [size]))
    found = Preprocessing(shorter, size).pixels(image)
    assert np.array_equal(found, expected.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "convnext_tiny", "swin_t", "vit_b_16"])
def test_preprocessing_is_that_of_torchvision_s_weights(name: str) -> None:
    image = photo(1, size=(61, 80))
    expected = get_model_weights(name).DEFAULT.transforms()(image).permute(1, 2, 0).numpy()
    preprocessing = backbones.find(name, None).preprocessing
    pixels = preprocessing.pixels(image) / 255
    assert (pixels - preprocessing.mean) / preprocessing.std == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (2, 9)])
def test_a_line_of_pixels_stays_small(size: tuple[int, int], fit: Fit) -> None:
    found = replace(SMALL, fit=fit).pixels(Image.new("RGB", size, "red"))
    assert found.shape == (32, 32, 3)


def test_padding_keeps_the_long_side_between_white_margins() -> None:
    """An upright picture of 20 x 80 pixels becomes 9 x 36, of which 2 are cropped at each end."""
    upright = Image.new("RGB", (20, 80), "blue")
    upright.paste("red", (0, 0, 20, 10))
    red, blue, white = (np.array(each) for each in ([255, 0, 0], [0, 0, 255], [255] * 3))
    for image, turned in ((upright, False), (upright.transpose(Image.Transpose.ROTATE_90), True)):
        found = replace(SMALL, fit="pad").pixels(image)
        if turned:
            found = np.rot90(found, -1)
        assert (found[:, :11] == white).all()
        assert (found[:, 21:] == white).all()
        assert (found[:2, 12:20] == red).all()
        assert (found[4:, 12:20] == blue).all()


@given(st.integers(8, 90))
@settings(max_examples=10, deadline=None)
def test_a_square_picture_is_neither_padded_nor_cropped_differently(side: int) -> None:
    image = photo(2, size=(side, side))
    padded, cropped = (replace(SMALL, fit=fit).pixels(image) for fit in ("pad", "crop"))
    assert np.array_equal(padded, cropped)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """More files than are decoded in this process."""
    folder = tmp_path_factory.mktemp("odd \n names")
    paths = [folder / f"{seed}.jpg" for seed in range(FEW + 6)]
    for seed, path in enumerate(paths):
        path.write_bytes(jpeg(seed))
    return paths


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7, FEW, FEW + 1, FEW + 6])
def test_workers_give_the_same_pixels_in_order(files: list[Path], count: int, beside: bool) -> None:
    found = list(batches(files[:count], SMALL, 8, beside=beside))
    assert [len(batch) for batch in found[:-1]] == [8] * (len(found) - 1)
    assert sum(len(batch) for batch in found) == count
    for path, pixels in zip(files[:count], (p for batch in found for p in batch), strict=True):
        assert np.array_equal(pixels, decode(path, SMALL))


def test_decoding_is_a_bounded_number_of_batches_ahead(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.jpg" for seed in range(4 * AHEAD + 1)]
    for seed, path in enumerate(paths):
        path.write_bytes(jpeg(seed))
    found = batches(paths, SMALL, 4, beside=False)
    next(found)
    for path in paths:
        path.unlink()  # what has been read stays at hand
    assert [len(next(found)) for _ in range(AHEAD - 1)] == [4] * (AHEAD - 1)
    with pytest.raises(FileNotFoundError):
        next(found)


def test_no_worker_outlives_a_consumer_that_stops(files: list[Path]) -> None:
    found = batches(files, SMALL, 4, beside=True)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_a_picture_that_kills_its_worker_is_named(files: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture: the worker ends with a traceback")
    with pytest.raises(RuntimeError, match=r"broken\.jpg"):
        list(batches([*files[:FEW], broken, *files[:3]], SMALL, 4, beside=False))


def test_a_worker_ends_with_its_input() -> None:
    command = [sys.executable, "-m", "brmrs.features.visual.pixels", '{"shorter": 9, "size": 8}']
    root = Path(__file__).parents[3]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, cwd=root, check=False).returncode == 0
