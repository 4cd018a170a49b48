"""Share of a photo's ten nearest neighbours that have its category, by extractor.

    python bench/neighbours.py FOLDER CHECKPOINTS [--epochs 20] [--methods simsiam byol ...]

`--methods` without a name trains nothing.

FOLDER holds photos and `catalogue.jsonl`, one object a line with "image", "title" and "category".
CHECKPOINTS holds the state of the training after every epoch, so it continues after a kill.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sentence_transformers import SentenceTransformer

from brmrs.config.features import SELF_SUPERVISED, SelfSupervisionConfig, VisualConfig
from brmrs.features.catalogue.text import resolve
from brmrs.features.self_supervised import stage
from brmrs.features.visual import backbones
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import stage as visual
from brmrs.features.visual.network import load as network_of
from brmrs.features.visual.pixels import Fit
from brmrs.images.decode import to_rgb

Vectors = NDArray[np.float32]
K = 10
PIXELS = 64  # side of the pictures whose pixels are compared


def main() -> None:
    """Print the table, each row as soon as its extractor is finished."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="photos and their catalogue.jsonl")
    parser.add_argument("checkpoints", type=Path, help="keeps the training's state")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.03)
    parser.add_argument("--methods", nargs="*", default=SELF_SUPERVISED, choices=SELF_SUPERVISED)
    arguments = parser.parse_args()
    lines = (arguments.folder / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()
    photos = [json.loads(line) for line in lines]
    labels = np.unique(["/".join(photo["category"]) for photo in photos], return_inverse=True)[1]
    print(f"{len(photos)} photos, {labels.max() + 1} categories, k = {K}\n")
    print("| extractor | precision | of centred vectors | last loss | last spread |")
    print("|---|---|---|---|---|")
    print(f"| chance | {chance(labels):.3f} | | | |")
    for name, vectors, last in extractors(photos, arguments):
        found = (precision(each, labels) for each in (vectors, visual.centred(vectors)))
        print(f"| {name} | {' | '.join(f'{p:.3f}' for p in found)} | {last} |", flush=True)


def extractors(
    photos: list[dict[str, str]], arguments: argparse.Namespace
) -> Iterator[tuple[str, Vectors, str]]:
    """Name, vectors, and the last point of the training curve of each extractor."""
    paths = [arguments.folder / photo["image"] for photo in photos]
    random = VisualConfig(backbone=arguments.backbone, weights="random", batch_size=32)
    training = SelfSupervisionConfig(
        size=arguments.size,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
    )
    trained = {}  # first, so that a kill loses no training
    for method in arguments.methods:
        config = random.model_copy(update={"weights": method, "training": training})
        trained[method] = stage.train(paths, config, arguments.checkpoints / f"{method}.pt")
    untrained = " | "
    yield "text: titles, all-MiniLM-L6-v2", titles(photos), untrained
    yield f"raw pixels, {PIXELS} x {PIXELS}", pixels(paths), untrained
    fits: tuple[Fit, ...] = ("crop", "pad")
    for fit in fits:
        packaged = network_of(VisualConfig(fit=fit))
        name = f"{packaged.about.label}, {packaged.preprocessing.size} px, {fit}"
        assert packaged.module is not None
        found = visual_encoder.embed_all(packaged.module, packaged.preprocessing, paths, 32)
        yield name, found, untrained
    backbone = backbones.find(random.backbone, None)
    small = backbone.at(training.size)
    network = backbones.build(backbone, random)[0]
    for each in (backbone, small):
        for fit in fits:
            preprocessing = replace(each.preprocessing, fit=fit)
            name = f"{backbone.label}, random weights, {preprocessing.size} px, {fit}"
            yield name, visual_encoder.embed_all(network, preprocessing, paths, 32), untrained
    for method, (weights, curve) in trained.items():
        network.network.load_state_dict(weights)
        last = " | ".join(f"{point[-1]:.3f}" for point in curve[-2:])
        name = (
            f"{backbone.label}, {method}, {small.preprocessing.size} px, {training.epochs} epochs"
        )
        vectors = visual_encoder.embed_all(network, small.preprocessing, paths, 32)
        yield name, vectors, last


def titles(photos: list[dict[str, str]]) -> Vectors:
    """The titles' embeddings."""
    model = SentenceTransformer(str(resolve("all-MiniLM-L6-v2")), device="cpu")
    return np.asarray(model.encode([photo["title"] for photo in photos]), dtype=np.float32)


def pixels(paths: list[Path]) -> Vectors:
    """The pixels of the pictures, resized to one size."""
    size, how = (PIXELS, PIXELS), Image.Resampling.BILINEAR
    images = [np.asarray(to_rgb(path.read_bytes()).resize(size, how)) for path in paths]
    return (np.stack(images).reshape(len(images), -1) / 255).astype(np.float32)


def precision(vectors: Vectors, labels: NDArray[np.intp]) -> float:
    """The share of the K nearest other photos by cosine that have the photo's label."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :K]
    return float((labels[nearest] == labels[:, None]).mean())


def chance(labels: NDArray[np.intp]) -> float:
    """The expected precision of random neighbours."""
    counts = np.bincount(labels).astype(float)
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))


if __name__ == "__main__":
    main()
