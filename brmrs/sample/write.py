"""The sample dump: small, generated from a seed, in the layout of Amazon 2023, with ground truth.

Like real dumps it has faults: pictures and descriptions that are missing, broken lines,
repeated reviews, users and items below the 5-core, reviews of unknown items, unreviewed items.
"""

import gzip
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.random import Generator
from numpy.typing import NDArray

from brmrs import columns
from brmrs.config.shipped import shipped_configs
from brmrs.errors import UserError
from brmrs.sample.information import mutual_information
from brmrs.sample.latent import Strengths, World, draw_interactions, draw_world
from brmrs.sample.pictures import QUALITY, draw_picture
from brmrs.sample.text import COORDINATES, KINDS, PRAISE, SIGNS, Words, write_words
from brmrs.system.files import write_json

VERSION = 3  # of the generator; raise it with every change of the bytes
MARKER = "SAMPLE"
REVIEWS, METADATA, IMAGES, TRUTH = "reviews.jsonl.gz", "meta.jsonl.gz", "images", "truth"
CONFIG = "config.yaml"

NO_IMAGE, NO_DESCRIPTION = 0.05, 0.05  # shares of the items
NOTHING = 4  # items without picture, title and description; of every second no metadata either
REPEATED = 0.01  # share of the reviews that a user writes again
TAIL_USERS, TAIL_ITEMS, UNREVIEWED = 60, 10, 15  # outside the 5-core
FIRST_DAY, DAYS = 1_577_836_800_000, 1_200  # 2020-01-01 in ms; over how many days reviews spread
DAY = 86_400_000  # ms
ALPHABET = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
BROKEN = (
    b'{"rating": 5.0, "title": "Cut off in the mid',
    b'{"rating": 5.0, "parent_asin": "B0AAAAAAAA", "timestamp": 1600000000000}',
    b'{"rating": 9.0, "parent_asin": "B0AAAAAAAA", "user_id": "AE7", "timestamp": 1600000000000}',
    b'{"rating": 4.0, "parent_asin": "", "user_id": "AE7", "timestamp": 1600000000000}',
    b"<html><body>503 Service Unavailable</body></html>",
    b'{"rating": 3.0, "title": "\xff\xfe", "parent_asin": "B0AAAAAAAA", "user_id": "AE7"}',
)


@dataclass(frozen=True)
class Presence:
    """Masks of the I items that have a picture, a description, a title, metadata."""

    image: NDArray[np.bool_]
    description: NDArray[np.bool_]
    title: NDArray[np.bool_]
    metadata: NDArray[np.bool_]


def write_sample(
    folder: Path,
    seed: int = 0,
    users: int = 1500,
    items: int = 500,
    strengths: Strengths | None = None,
) -> None:
    """Write the sample dump, unless the folder holds the same one already.

    The folder is written atomically, and the same arguments give the same bytes:
    `reviews.jsonl.gz`, `meta.jsonl.gz`, `images/<asin>.jpg`, and in `truth/` the latent vectors
    (`users.parquet`, `items.parquet`), each interaction's type (`interactions.parquet`), and in
    `parameters.json` the matrices, the strengths, and the bits that text, picture and both tell of
    each part (`brmrs/sample/information.py`). `config.yaml` runs the pipeline on it: the shipped
    `configs/sample.yaml` with the paths of this folder.

    Args:
        folder: the target; an older sample in it is replaced.
        seed: of everything drawn.
        users: in the 5-core, about.
        items: in the 5-core, about.
        strengths: of the parts of the taste; None: all 1.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    strengths = strengths or Strengths()
    marker = {"version": VERSION, "seed": seed, "users": users, "items": items}
    marker |= asdict(strengths)
    if _holds_sample(folder) == marker:
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            new = Path(scratch) / "new"
            new.mkdir()
            _fill(new, seed, users, items, strengths)
            write_json(new / MARKER, marker)
            if folder.exists():
                os.rename(folder, Path(scratch) / "old")
            os.rename(new, folder)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose another folder") from error


def _holds_sample(folder: Path) -> dict[str, float] | None:
    """The marker of the sample in the folder; None where it is absent or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        marker: dict[str, float] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: holds something other than a sample dump; choose another folder"
        ) from error
    names = (REVIEWS, METADATA, IMAGES, TRUTH, CONFIG)
    complete = all((folder / name).exists() for name in names)
    return marker if complete else {}


def _fill(folder: Path, seed: int, users: int, items: int, strengths: Strengths) -> None:
    rng = np.random.default_rng(seed)
    world = draw_world(rng, users, items, strengths)
    user, item, kind = draw_interactions(rng, world.contributions())
    user_ids = _ids(rng, "AE", 26, users + TAIL_USERS)
    asins = _ids(rng, "B0", 8, items + TAIL_ITEMS + UNREVIEWED)
    presence = _draw_presence(rng, items)
    _write_truth(folder / TRUTH, world, user_ids, asins, (user, item, kind))
    _write_pictures(folder / IMAGES, rng, world, asins, presence)
    _write_metadata(folder / METADATA, rng, world, asins, presence)
    pairs = [*zip(user.tolist(), item.tolist(), strict=True), *_tail(rng, users, items)]
    _write_reviews(folder / REVIEWS, _reviews(rng, pairs, user_ids, asins), rng)
    _write_config(folder / CONFIG)


def _ids(rng: Generator, prefix: str, length: int, count: int) -> list[str]:
    letters = ALPHABET[rng.integers(len(ALPHABET), size=(count, length))]
    return [prefix + "".join(row) for row in letters]


def _draw_presence(rng: Generator, items: int) -> Presence:
    image, description = rng.random(items) >= NO_IMAGE, rng.random(items) >= NO_DESCRIPTION
    nothing = rng.choice(items, size=min(NOTHING, items), replace=False)
    title = np.ones(items, dtype=bool)
    metadata = np.ones(items, dtype=bool)
    for present in (image, description, title):
        present[nothing] = False
    metadata[nothing[::2]] = False
    return Presence(image, description, title, metadata)


def _tail(rng: Generator, users: int, items: int) -> list[tuple[int, int]]:
    """Pairs of users with one to three reviews; some are of items without other reviews."""
    pairs = set()
    for user in range(users, users + TAIL_USERS):
        for _ in range(rng.integers(1, 4)):
            pairs.add((user, int(rng.integers(items))))
        if user % 3 == 0:
            pairs.add((user, items + int(rng.integers(TAIL_ITEMS))))
    return sorted(pairs)


def _write_truth(
    folder: Path, world: World, user_ids: list[str], asins: list[str], interactions: Any
) -> None:
    folder.mkdir()
    user, item, part = interactions
    users, items = len(world.users[columns.SYNERGY]), len(world.kind)
    types = (*columns.PARTS, columns.NO_PART)
    tables = {
        "users": ({columns.USER_ID: user_ids[:users], **_latent(world.users)}, columns.TRUTH_USERS),
        "items": (
            {
                columns.ASIN: asins[:items],
                **_latent(world.items),
                columns.TEXT_SIGNS: list(world.text_signs),
                columns.VISUAL_SIGNS: list(world.visual_signs),
            },
            columns.TRUTH_ITEMS,
        ),
        "interactions": (
            {
                columns.USER_ID: [user_ids[code] for code in user],
                columns.ASIN: [asins[code] for code in item],
                columns.TYPE: [types[code] for code in part],
            },
            columns.TRUTH_INTERACTIONS,
        ),
    }
    for name, (values, schema) in tables.items():
        pq.write_table(pa.table(values, schema=schema), folder / f"{name}.parquet")
    parameters = {
        "A": world.text_half.tolist(),
        "B": world.visual_half.tolist(),
        "strengths": asdict(world.strengths),
        "mutual_information_bits": mutual_information(world),
    }
    write_json(folder / "parameters.json", parameters)


def _latent(vectors: dict[str, NDArray[np.float64]]) -> dict[str, list[NDArray[np.float32]]]:
    return {part: list(vectors[part].astype(np.float32)) for part in columns.PARTS}


def _write_pictures(
    folder: Path, rng: Generator, world: World, asins: list[str], presence: Presence
) -> None:
    folder.mkdir()
    shown, redundant = world.shown_in_picture(), world.items[columns.REDUNDANT]
    for index in np.flatnonzero(presence.image):
        signs, kind = world.visual_signs[index], int(world.kind[index])
        picture = draw_picture(rng, shown[index], signs, redundant[index], kind)
        picture.save(folder / f"{asins[index]}.jpg", quality=QUALITY)


def _write_metadata(
    path: Path, rng: Generator, world: World, asins: list[str], presence: Presence
) -> None:
    # Not generated from latent vectors: arbitrary texts, all fields present.
    more = len(asins) - len(world.kind)
    shown = np.vstack([world.shown_in_text(), rng.standard_normal((more, len(COORDINATES)))])
    kind = np.append(world.kind, rng.integers(len(KINDS), size=more))
    signs = np.vstack([world.text_signs, np.ones((more, len(SIGNS)))])
    all_there = np.ones(more, dtype=bool)
    title = np.append(presence.title, all_there)
    description = np.append(presence.description, all_there)
    lines = [
        orjson.dumps(_page(rng, asins[index], words, bool(title[index]), bool(description[index])))
        for index in np.flatnonzero(np.append(presence.metadata, all_there))
        for words in [write_words(rng, shown[index], signs[index], int(kind[index]))]
    ]
    lines.insert(len(lines) // 2, b'{"title": "A page without an id", "images": []}')
    _write_gzip(path, lines)


def _page(
    rng: Generator, asin: str, words: Words, has_title: bool, has_description: bool
) -> dict[str, Any]:
    """A line of metadata. Pictures are files beside the dump, so it has no address."""
    return {
        "main_category": "Home & Gifts" if has_title else None,
        "title": words.title if has_title else "",
        "average_rating": round(float(rng.uniform(3.5, 5)), 1),
        "rating_number": int(rng.integers(5, 500)),
        "features": words.features if has_description else [],
        "description": words.description if has_description else [],
        "price": round(float(rng.uniform(5, 90)), 2),
        "images": [],
        "videos": [],
        "store": words.brand if has_title else None,
        "categories": words.categories if has_title else [],
        "details": {},
        "parent_asin": asin,
        "bought_together": None,
    }


def _reviews(
    rng: Generator, pairs: list[tuple[int, int]], user_ids: list[str], asins: list[str]
) -> list[dict[str, Any]]:
    """A review of each pair, some twice, in the order of time."""
    start = rng.uniform(0, 0.7 * DAYS, len(user_ids))
    again = rng.choice(len(pairs), size=int(REPEATED * len(pairs)), replace=False)
    chosen = [*range(len(pairs)), *again.tolist()]
    days = rng.uniform(0, 0.3 * DAYS, len(chosen))
    stars = rng.choice(5, size=len(chosen), p=(0.04, 0.05, 0.1, 0.23, 0.58)) + 1
    reviews = []
    for index, day, rating in zip(chosen, days.tolist(), stars.tolist(), strict=True):
        user, item = pairs[index]
        headline, *texts = PRAISE[rating]
        reviews.append(
            {
                "rating": float(rating),
                "title": headline,
                "text": texts[index % len(texts)],
                "images": [],
                "asin": asins[item],
                "parent_asin": asins[item],
                "user_id": user_ids[user],
                "timestamp": FIRST_DAY + int((start[user] + day) * DAY),
                "helpful_vote": index % 3,
                "verified_purchase": True,
            }
        )
    return sorted(reviews, key=lambda review: review["timestamp"])


def _write_reviews(path: Path, reviews: Iterable[dict[str, Any]], rng: Generator) -> None:
    lines = [orjson.dumps(review) for review in reviews]
    for line in BROKEN:
        lines.insert(int(rng.integers(len(lines))), line)
    _write_gzip(path, lines)


def _write_config(path: Path) -> None:
    """The shipped configuration without the comment at its start."""
    lines = (shipped_configs() / "sample.yaml").read_text(encoding="utf-8").splitlines()
    body = [line.replace("../data/sample/", "") for line in lines if not line.startswith("#")]
    head = "# The sample dump beside this file; its paths are relative to this file."
    path.write_text("\n".join([head, *body]) + "\n", encoding="utf-8")


def _write_gzip(path: Path, lines: list[bytes]) -> None:
    """Write gzip without the file's name and time, so the same lines give the same bytes."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.write(b"\n".join(lines) + b"\n")
