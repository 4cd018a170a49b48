"""Runs of a made-up model in a store, without training, for the tests and the bench of the service.

Users and items have random vectors. Interactions are random, so only the arithmetic can be tested.
"""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import torch
import uvicorn
from PIL import Image
from starlette.types import ASGIApp, Receive, Scope, Send

from brmrs.columns import (
    ASIN,
    BRAND,
    CATEGORIES,
    DESCRIPTION,
    FUSED,
    IMAGE_URLS,
    ITEM,
    ITEMS,
    RATING,
    SPLIT,
    SPLIT_INTERACTIONS,
    TEST,
    TEXT,
    TIMESTAMP,
    TITLE,
    TRAIN,
    USER,
    VISUAL,
)
from brmrs.config.load import parse
from brmrs.features.table import Extractor
from brmrs.features.table import write as write_features
from brmrs.graphs.user_items import UserItems
from brmrs.images.decode import Picture, Status, check
from brmrs.images.picture_store import PictureStore
from brmrs.images.stage import write as write_pictures
from brmrs.models.base import Branch, Scorer
from brmrs.models.bundle import Bundle, Description
from brmrs.models.scorers import ItemWeights
from brmrs.service.access import Access, make
from brmrs.service.app import Settings, create
from brmrs.service.served import Choice
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.records import Artifact, Record
from brmrs.store.runs import Run, save
from brmrs.system.files import write_parquet

WORDS = ("Red", "Blue", "Oak", "Steel", "Silk", "Round", "Small", "Tall")
THINGS = ("Lamp", "Mug", "Bowl", "Clock", "Bag")


class Maker:
    """Writes a run.

    Attributes:
        store: the artifact store.
        name: of the run.
        users: U.
        items: I.
        dim: of the vectors.
        seed: of everything random but the interactions and items, which are equal for all runs.
        branches: of the model; empty: random ones.
    """

    def __init__(
        self,
        store: ArtifactStore,
        name: str,
        *,
        users: int = 40,
        items: int = 30,
        dim: int = 8,
        seed: int = 0,
        fused: Scorer | None = None,
    ):
        self.store, self.name = store, name
        self.users, self.items, self.dim, self.seed = users, items, dim, seed
        self.branches = {FUSED: fused} if fused else {}
        self.user_ids = [f"U{user:05d}" for user in range(users)]
        self.item_ids = [f"A/{item:05d}" for item in range(items)]  # an id with a slash
        drawn = np.random.default_rng(0)
        pairs = drawn.integers((users, items), size=(8 * users, 2))
        pairs = np.unique(np.concatenate([pairs, [[user, 0] for user in range(users)]]), axis=0)
        self.pairs = pairs
        self.times = drawn.integers(1, 10**9, len(pairs))
        self.splits = np.where(drawn.random(len(pairs)) < 0.2, TEST, TRAIN)
        self.splits[pairs[:, 1] == 0] = TRAIN
        train = torch.from_numpy(pairs[self.splits == TRAIN])
        self.seen = UserItems.from_pairs(train[:, 0], train[:, 1], users, items)

    def write(self, model: str = "br-mrs", without: tuple[str, ...] = ()) -> Run:
        """The run, with all artifacts that the service reads, or without those of some stages."""
        stages = {
            "ingest": self._ingest,
            "split": self._split,
            "images": self._images,
            "text_features": self._text,
            "visual_features": self._visual,
            "train": lambda out: self.bundle(model).save(out),
            "publish": lambda out: (out / "empty").write_text(""),
        }
        records = {
            name: self._record(name, write) for name, write in stages.items() if name not in without
        }
        config = parse({"name": "made-up", "model": {"name": model}}, "served_store")
        run = Run(self.name, config.model_dump(mode="json"), {}, records, 1.0, {})
        save(run, self.store)
        return run

    def bundle(self, model: str) -> Bundle:
        """The model: three branches of inner products, or EASE with random weights."""
        generator = torch.Generator().manual_seed(self.seed)

        def drawn(rows: int, columns: int) -> torch.Tensor:
            return torch.randn(rows, columns, generator=generator)

        branches: dict[str, Scorer]
        if self.branches:
            branches = dict(self.branches)
        elif model == "ease":
            weights = drawn(self.items, self.items)
            branches = {FUSED: ItemWeights(self.seen.indptr, self.seen.items, weights)}
        else:
            p, q = drawn(self.users, 2 * self.dim), drawn(self.items, 2 * self.dim)
            half = slice(self.dim), slice(self.dim, None)
            branches = {
                FUSED: Branch(p, q),
                TEXT: Branch(p[:, half[0]], q[:, half[0]]),
                VISUAL: Branch(p[:, half[1]], q[:, half[1]]),
            }
        about = Description(
            model={"name": model},
            train={"seed": self.seed, "selection": "recall@20"},
            best_epoch=1,
            validation={},
            features={},
            users=tuple(self.user_ids),
            items=tuple(self.item_ids),
        )
        return Bundle(about, branches, self.seen, {})

    def _record(self, stage: str, write: Any) -> Record:
        with self.store.writing(stage) as out:
            write(out)
            artifact: Artifact = self.store.commit(out, stage)
        return Record("0" * 64, {}, artifact, self.name, 1.0)

    def _ingest(self, out: Path) -> None:
        titles = [
            f"{WORDS[i % 8]} {WORDS[i // 8 % 8]} {THINGS[i % 5]} No. {i}" for i in range(self.items)
        ]
        titles[1] = ""
        titles[2] = "<script>alert(1)</script> \u202eevil"
        things = [THINGS[i % 5] for i in range(self.items)]
        columns = {
            ITEM: range(self.items),
            ASIN: self.item_ids,
            TITLE: titles,
            DESCRIPTION: [""] * self.items,
            BRAND: [f"Brand {i % 3}" if i % 4 else "" for i in range(self.items)],
            CATEGORIES: [["Home", thing] if i % 6 else [] for i, thing in enumerate(things)],
            IMAGE_URLS: [[]] * self.items,
        }
        write_parquet(out / "items.parquet", ITEMS, columns)

    def _split(self, out: Path) -> None:
        n = len(self.pairs)
        columns = {
            USER: self.pairs[:, 0],
            ITEM: self.pairs[:, 1],
            RATING: pa.nulls(n, pa.float32()),
            TIMESTAMP: self.times,
            SPLIT: self.splits,
        }
        write_parquet(out / "interactions.parquet", SPLIT_INTERACTIONS, columns)

    def _images(self, out: Path) -> None:
        """A picture for each of the first ten items; item 5 has none."""
        store = PictureStore(out / "scratch")
        pictures = []
        for item in range(self.items):
            if item >= 10 or item == 5:
                pictures.append(Picture(Status.MISSING))
                continue
            buffer = io.BytesIO()
            kind = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")[item % 6]
            Image.new("RGB", (32, 24), (20 * item, 90, 200)).save(buffer, kind)
            data = buffer.getvalue()
            pictures.append(check(data, 10**6, 10**6).at(f"{item}"))
            store.add(pictures[-1], data)
        store.publish(pictures, out)
        write_pictures(pictures, out)
        for path in sorted((out / "scratch").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (out / "scratch").rmdir()

    def _text(self, out: Path) -> None:
        self._features(out, TEXT, 1)

    def _visual(self, out: Path) -> None:
        self._features(out, VISUAL, 2)

    def _features(self, out: Path, modality: str, seed: int) -> None:
        """Items 3 and 5 lack the modality."""
        rows = np.random.default_rng(seed).normal(size=(self.items, 6)).astype(np.float32)
        which = np.arange(self.items)
        which[[3, 5]] = -1
        write_features(out, rows, which, Extractor(modality, "made up", "none", "none", None))


@contextmanager
def running(
    store: ArtifactStore, *, run: str | None = None, access: Access | None = None, under: str = ""
) -> Iterator[httpx.Client]:
    """A server on a free port of this machine, in a thread, and a client of it.

    Args:
        store: the artifact store.
        run: name of the served run.
        access: who may call.
        under: the path of the service, as behind a proxy that removes it.
    """
    settings = Settings(Choice(store, run), access or make("127.0.0.1", (), None))
    app = _without_prefix(create(settings), under)
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)


def _without_prefix(app: ASGIApp, prefix: str) -> ASGIApp:
    """The application under a path of its own; all other paths are unknown."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            inside = path.startswith(f"{prefix}/")
            scope = {**scope, "path": path.removeprefix(prefix) if inside else "/outside"}
        await app(scope, receive, send)

    return proxy
