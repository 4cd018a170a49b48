"""Text and visual features at once, in threads of one process, as the flow runs them."""

import threading
import time

import numpy as np

from brmrs.config.features import VisualConfig
from brmrs.features.loading import load
from brmrs.features.text.encoder import embed_all
from brmrs.features.visual import backbones

TEXTS = [f"a {colour} mug for tea" for colour in ("red", "green", "blue", "black")] * 6


def test_backbones_are_built_while_texts_are_embedded_and_models_loaded() -> None:
    config = VisualConfig(backbone="resnet18", weights="random")
    model = load("all-MiniLM-L6-v2")
    calm = embed_all(model, TEXTS, 1)
    alone = backbones.build(backbones.find("resnet18", None), config)[1]
    digests: list[str] = []
    done = threading.Event()

    def build() -> None:
        while not done.is_set():
            digests.append(backbones.build(backbones.find("resnet18", None), config)[1])
            time.sleep(0.01)  # a lock promises no turn: let go for long enough to be taken

    other = threading.Thread(target=build)
    other.start()
    try:
        for _ in range(2):
            assert np.array_equal(embed_all(model, TEXTS, 1), calm)
        load("all-MiniLM-L6-v2")
    finally:
        done.set()
        other.join()
    assert set(digests) == {alone}
