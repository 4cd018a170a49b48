"""Measure the speed of text and picture embedding, in one table.

    python bench/features.py --metadata meta_Gift_Cards.json.gz --photos FOLDER
    python bench/features.py --metadata meta_Gift_Cards.json.gz --texts 20000 --ray

The rows of a model are: the plain library calls in fp32; brmrs, from raw contents to cached shards;
the limit, which is only the forward pass on prepared batches. For pictures there is also the
forward pass of torchvision's network in the same precision and layout. The last column is the
smallest cosine of a row of brmrs to the same row of the plain call. Backbones have random weights,
as weights do not affect the speed. With `--ray`, the texts are embedded by this process with all
its threads, and by as many actors with one core each, on a cluster that runs already.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import flows  # noqa: F401 - sets how threads wait, before torch is loaded

# isort: split
import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from torch import nn
from torchvision.models import get_model_weights

from brmrs.config.features import TextConfig, VisualConfig
from brmrs.config.machines import ExecutionConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.features import embeddings, precision
from brmrs.features.embeddings import Embed
from brmrs.features.loading import load
from brmrs.features.text import encoder as text_encoder
from brmrs.features.text import on_cluster
from brmrs.features.visual import backbones
from brmrs.features.visual import encoder as visual_encoder
from brmrs.features.visual import network as networks
from brmrs.features.visual import pixels as pictures
from brmrs.stages import StageContext
from brmrs.system import cluster
from brmrs.system.cluster import Columns, Pool, Tasks
from brmrs.system.heap import freed_memory_kept

BATCH = 32  # of the plain calls


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and the result of the work."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def row(what: str, count: int, seconds: float, cosine: float | None = None) -> float:
    """Print a row of the table; returns the rate."""
    worst = "" if cosine is None else f"{cosine:.5f}"
    print(f"| {what} | {count} | {seconds:.2f} | {count / seconds:,.1f} | {worst} |", flush=True)
    return count / seconds


def kept(count: int, dimension: int, embed: Embed) -> np.ndarray:
    """Embed into an empty store, as the stages do."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = StageContext(PipelineConfig(), {}, root, root, stage_cache=root)
        contents = [str(number) for number in range(count)]
        return np.array(embeddings.gather(context, "bench", "", contents, dimension, embed).vectors)


def read_texts(path: Path, count: int) -> list[str]:
    """Distinct titles with descriptions, from all parts of a metadata file."""
    with gzip.open(path) as file:
        items = [json.loads(line) for line in file]
    joined = ("\n".join([str(item.get("title")), *item.get("description", ())]) for item in items)
    distinct = list(dict.fromkeys(joined))
    return distinct[:: max(1, len(distinct) // count)][:count]


def compare_texts(texts: list[str]) -> str:
    """Measure the packaged model; return the ratios."""
    model = load("all-MiniLM-L6-v2")
    fast, chosen = text_encoder.in_precision(model, "auto")
    config = TextConfig()

    def plain() -> np.ndarray:
        return np.asarray(model.encode(texts, batch_size=BATCH, show_progress_bar=False))

    def ours() -> np.ndarray:
        return kept(
            len(texts),
            text_encoder.dimension(fast),
            lambda _: text_encoder.embed(fast, texts, config.batch_size, config.long_texts),
        )

    model.encode(texts[:BATCH], show_progress_bar=False)
    seconds, expected = timed(plain)
    usual = row(f"texts, encode(batch_size={BATCH}), fp32", len(texts), seconds)
    seconds, found = timed(ours)
    worst = precision.cosines(expected, found).min()
    rate = row(f"texts, brmrs, {chosen}", len(texts), seconds, worst)
    limit = row(f"texts, forward alone, {chosen}", len(texts), forward_seconds(fast, ours))
    return f"texts: {rate / usual:.2f} times encode, {rate / limit:.2f} of the limit"


def compare_engines(found: list[str], count: int) -> str:
    """Measure the packaged model in this process and on Ray; return the overhead.

    If there are fewer texts than `count`, they occur several times, each time with another number.
    """
    texts = [f"{n // len(found)} {found[n % len(found)]}" for n in range(count)]
    model, chosen = text_encoder.in_precision(load("all-MiniLM-L6-v2"), "auto")
    config, workers = TextConfig(), torch.get_num_threads()
    execution = ExecutionConfig(engine="ray", workers=workers)
    arguments = (model, texts, config.batch_size, config.long_texts)
    size = text_encoder.dimension(model)
    text_encoder.embed_all(model, texts[:BATCH], config.batch_size)
    start = timed(lambda: list(cluster.apply(Pool(), [{"row": [0]}], [Tasks(same)])))[0]
    print(f"start of the cluster: {start:.1f} s")
    few = (model, texts[:1], config.batch_size, config.long_texts, execution)
    with ProcessorTime() as starting:
        start = timed(lambda: list(on_cluster.embed(*few)))[0]
    print(f"a text on ray: {start:.1f} s, {starting.seconds:.1f} s of processor time")
    with ProcessorTime() as here:
        local, expected = timed(
            lambda: kept(len(texts), size, lambda _: text_encoder.embed(*arguments))
        )
    row(f"texts, this process, {workers} threads, {chosen}", len(texts), local)
    with ProcessorTime() as there:
        ray, vectors = timed(
            lambda: kept(len(texts), size, lambda _: on_cluster.embed(*arguments, execution))
        )
    row(f"texts, ray, {workers} actors, {chosen}", len(texts), ray)
    assert (vectors == expected).all()
    return (
        f"texts: ray takes {ray / local - 1:+.1%} of wall time; processor time of all processes: "
        f"{here.seconds:.1f} s here, {there.seconds:.1f} s on ray; the same bytes"
    )


class ProcessorTime(Thread):
    """Processor time of this process and all that it started, in seconds (Linux).

    On a busy machine it says more than wall time. A process that ends counts as last seen.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = Event()
        self._seen: dict[int, float] = {}
        self._before = self.seconds = 0.0

    def __enter__(self) -> Self:
        self._look()
        self._before = sum(self._seen.values())
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._look()
        self.seconds = sum(self._seen.values()) - self._before

    def run(self) -> None:
        """Look twice a second."""
        while not self._ended.wait(0.5):
            self._look()

    def _look(self) -> None:
        parents, ticks = {}, {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended
                fields = path.read_text().rpartition(")")[2].split()
                pid = int(path.parent.name)
                parents[pid], ticks[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
        for pid, spent in ticks.items():
            above: int | None = pid
            while above not in (None, 0, os.getpid()):
                above = parents.get(above)
            if above == os.getpid():
                self._seen[pid] = spent / os.sysconf("SC_CLK_TCK")


def same(batch: Columns) -> Columns:
    """Nothing to do."""
    return batch


def forward_seconds(model: SentenceTransformer, work: Callable[[], Any]) -> float:
    """Seconds of a model's forward passes within some work."""
    began, spent = [0.0], [0.0]

    def start(*_: Any) -> None:
        began[0] = time.perf_counter()

    def stop(*_: Any) -> None:
        spent[0] += time.perf_counter() - began[0]

    hooks = model.register_forward_pre_hook(start), model.register_forward_hook(stop)
    work()
    for hook in hooks:
        hook.remove()
    return spent[0]


def compare_pictures(name: str, paths: list[Path]) -> str:
    """Measure one backbone; return the ratios."""
    config = VisualConfig(backbone=name, weights="random")
    network = networks.load(config)
    assert network.module is not None
    module, chosen = visual_encoder.in_precision(network, "auto")
    plain_module = as_torchvision_has_it(config)

    def ours() -> np.ndarray:
        embed = visual_encoder.embed(module, network.preprocessing, paths, config.batch_size)
        return kept(len(paths), network.dimension, lambda _: embed)

    loop(name, plain_module, paths[:BATCH])
    seconds, expected = timed(lambda: loop(name, plain_module, paths))
    usual = row(f"{name}, torchvision loop, fp32", len(paths), seconds)
    seconds, found = timed(ours)
    worst = precision.cosines(expected, found).min()
    rate = row(f"{name}, brmrs, {chosen}", len(paths), seconds, worst)
    ready = list(pictures.batches(paths, network.preprocessing, config.batch_size, beside=True))
    images = [visual_encoder.tensor(batch, network.preprocessing, module) for batch in ready]
    same, _ = visual_encoder.in_precision(network._replace(module=plain_module), chosen)
    same = same.to(memory_format=torch.channels_last)
    alone = f"{name}, forward alone, {chosen}"
    plain = row(f"{alone}, torchvision's network", len(paths), passes(same, images))
    folded = row(f"{alone}, as brmrs runs it", len(paths), passes(module, images))
    return (
        f"{name}: {rate / usual:.2f} times the loop; {rate / plain:.2f} of the forward pass of "
        f"torchvision's network, {rate / folded:.2f} of brmrs's"
    )


def passes(module: nn.Module, images: list[torch.Tensor]) -> float:
    """Seconds of a network on prepared batches."""
    with freed_memory_kept(), torch.inference_mode():
        return timed(lambda: [module(batch) for batch in images])[0]


def as_torchvision_has_it(config: VisualConfig) -> nn.Module:
    """The same network without folding batch normalisations into the convolutions."""
    return backbones.build(backbones.find(config.backbone, None), config)[0].to(precision.device())


def loop(name: str, module: nn.Module, paths: list[Path]) -> np.ndarray:
    """A notebook's code."""
    transform = get_model_weights(name).DEFAULT.transforms()
    found = []
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            images = [
                transform(Image.open(path).convert("RGB")) for path in paths[start : start + BATCH]
            ]
            found.append(module(torch.stack(images).to(precision.device())).cpu().numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metadata", type=Path, help="gzip JSON lines with title and description")
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs")
    parser.add_argument("--texts", type=int, default=500, help="how many, at most")
    parser.add_argument("--pictures", type=int, default=128, help="how many, at most")
    parser.add_argument("--ray", action="store_true", help="the texts here and on Ray")
    parser.add_argument("--backbones", nargs="+", default=["resnet50", "vgg16"])
    arguments = parser.parse_args()
    if not (arguments.metadata or arguments.photos):
        parser.error("give --metadata, --photos or both")
    photos = sorted(arguments.photos.glob("*.jpg")) if arguments.photos else []
    if arguments.photos and not photos:
        parser.error(f"--photos {arguments.photos}: has no *.jpg")
    print(f"{torch.get_num_threads()} threads, {precision.device()}\n")
    print("| what | rows | s | rows/s | smallest cosine |\n|---|---|---|---|---|")
    ratios = []
    if arguments.metadata:
        found = read_texts(arguments.metadata, arguments.texts)
        ratios.append(
            compare_engines(found, arguments.texts) if arguments.ray else compare_texts(found)
        )
    if photos:
        few = photos[: arguments.pictures]
        ratios += [compare_pictures(name, few) for name in arguments.backbones]
    print("", *ratios, sep="\n")
