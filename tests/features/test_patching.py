"""Text and visual features at once, in threads of one process, as the flow runs them."""

import threading
import time

import numpy as np

from brmrs.config import VisualConfig
from brmrs.features import backbones, text
from brmrs.features.patching import PATCHING

TEXTS = [f"a {colour} mug for tea" for colour in ("red", "green", "blue", "black")] * 6


def test_embedding_texts_while_backbones_are_cut_changes_neither() -> None:
    config = VisualConfig(backbone="resnet18", weights="random")
    model = text.load("all-MiniLM-L6-v2")
    calm = text.embed(model, TEXTS, 4)
    alone = backbones.build(backbones.find("resnet18", None), config)[1]
    digests: list[str] = []
    done = threading.Event()

    def cut() -> None:
        while not done.is_set():
            with PATCHING:
                backbone = backbones.find("resnet18", None)
            with PATCHING:
                digests.append(backbones.build(backbone, config)[1])
            time.sleep(0.01)  # a lock promises no turn: let go for long enough to be taken

    other = threading.Thread(target=cut)
    other.start()
    try:
        for _ in range(3):
            assert np.array_equal(text.embed(model, TEXTS, 4), calm)
        with PATCHING:
            text.load("all-MiniLM-L6-v2")
    finally:
        done.set()
        other.join()
    assert set(digests) == {alone}
