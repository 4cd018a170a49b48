"""The stage `images`: the items' pictures, from a folder or the web, checked, by content hash."""

import asyncio
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.columns import (
    ASIN,
    HEIGHT,
    IMAGE_URLS,
    IMAGES,
    ITEM,
    SHA256,
    SOURCE,
    STATUS,
    WIDTH,
)
from brmrs.config.pipeline import ImagesConfig
from brmrs.errors import UserError
from brmrs.images.decode import PASSING, Picture, Status, check
from brmrs.images.fetch import Fetcher
from brmrs.images.kept import KeptPictures, address_hash, link
from brmrs.stages import INCOMPLETE, ITEMS, StageContext
from brmrs.system import progress
from brmrs.system.files import write_json

LOG = logging.getLogger(__name__)
FILES = "files"
TABLE = "images.parquet"
STATISTICS = "statistics.json"
ADDRESSES_PER_ITEM = 10  # tried at most


def run(context: StageContext) -> None:
    """Gather the pictures; writes images.parquet, statistics.json and files/.

    Where an address may give a picture another time, the artifact is incomplete: the next run asks
    again, there alone.

    Raises:
        UserError: the folder of pictures cannot be read.
    """
    config = context.config.images
    items = pq.read_table(context.inputs[ITEMS], columns=[ASIN, IMAGE_URLS]).to_pylist()
    store = Store(context.scratch, _kept(context))
    pictures = gather(
        [item[ASIN] for item in items], [tuple(item[IMAGE_URLS]) for item in items], config, store
    )
    store.publish(pictures, context.out)
    write(pictures, context.out)
    counts = Counter(picture.status for picture in pictures)
    LOG.info(
        "images: %d of %d ok (%s)",
        counts[Status.OK],
        len(pictures),
        ", ".join(f"{n} {status}" for status, n in sorted(counts.items()) if status != Status.OK)
        or "all",
    )
    if counts[Status.REFUSED]:
        LOG.info(
            "images: the %d refused have addresses in private or reserved ranges; "
            "images.allow_private=true allows the private ones",
            counts[Status.REFUSED],
        )
    passing = {str(status): counts[status] for status in PASSING if counts[status]}
    if passing:
        write_json(context.out / INCOMPLETE, passing)
        LOG.info("images: the next run asks again for the %d that may pass", sum(passing.values()))


def _kept(context: StageContext) -> KeptPictures | None:
    """The pictures that earlier runs kept; those of private addresses where these are allowed."""
    if context.stage_cache is None:
        return None
    return KeptPictures(
        context.stage_cache / ("any" if context.config.images.allow_private else "public")
    )


def gather(
    asins: Sequence[str],
    addresses: Sequence[tuple[str, ...]],
    config: ImagesConfig,
    store: "Store",
) -> list[Picture]:
    """The picture of each item: of the folder's file, else of the first address that gives one.

    Where no address gives one, the status is that of the first that may do so another time, else
    of the first.

    Args:
        asins: (I,) raw ids; they are compared with file names, never made into paths.
        addresses: (I,) the addresses of each item, in the order to try them.
        config: folder and limits.
        store: takes the bytes; what it has is not fetched again.

    Raises:
        UserError: the folder of pictures cannot be read.
    """
    files = local_files(config.folder) if config.folder else {}
    fetched: dict[tuple[str, ...], Picture] = {}
    if config.fetch:
        wanted = (urls for asin, urls in zip(asins, addresses, strict=True) if asin not in files)
        try:
            fetched = asyncio.run(fetch_all(dict.fromkeys(filter(None, wanted)), config, store))
        except* OSError as faults:  # not the web's, which has a status: the disk's
            raise UserError(f"images: {faults.exceptions[0]}") from faults
    pictures = []
    with progress.task("Reading pictures", len(asins)) as task:
        for asin, urls in zip(asins, addresses, strict=True):
            if asin in files:
                pictures.append(_read(files[asin], config, store))
            else:
                pictures.append(fetched.get(urls, Picture(Status.MISSING)))
            task.advance()
    return pictures


def local_files(folder: Path) -> dict[str, Path]:
    """The files of a folder by the name without its extension; of several, the first by name.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            paths = sorted(
                Path(entry.path)
                for entry in entries
                if entry.is_file() and not entry.name.startswith(".")
            )
    except OSError as error:
        raise UserError(f"images.folder: {folder}: {error.strerror}") from error
    return {path.stem: path for path in reversed(paths)}


async def fetch_all(
    jobs: Iterable[tuple[str, ...]], config: ImagesConfig, store: "Store"
) -> dict[tuple[str, ...], Picture]:
    """Fetch the first good picture of each list of addresses."""
    done: dict[tuple[str, ...], Picture] = {}
    jobs = list(jobs)
    todo = iter(jobs)  # shared: each worker takes the next one

    with progress.task("Fetching pictures", len(jobs)) as task:
        async with Fetcher(config) as fetcher, asyncio.TaskGroup() as group:

            async def work() -> None:
                for addresses in todo:
                    done[addresses] = await _first_good(addresses, fetcher, store)
                    task.advance()

            for _ in range(min(config.concurrency, len(jobs))):
                group.create_task(work())
    return done


async def _first_good(addresses: tuple[str, ...], fetcher: Fetcher, store: "Store") -> Picture:
    failed = []
    for address in addresses[:ADDRESSES_PER_ITEM]:
        picture = store.find(address) or await _kept_or_fetched(address, fetcher, store)
        if picture.status == Status.OK:
            return picture
        failed.append(picture)
    return next((picture for picture in failed if picture.status in PASSING), failed[0])


async def _kept_or_fetched(address: str, fetcher: Fetcher, store: "Store") -> Picture:
    # In threads: decoding a large picture must not stop the other transfers.
    limits = fetcher.config.max_bytes, fetcher.config.max_pixels
    picture = await asyncio.to_thread(store.reuse, address, *limits)
    if picture:
        return picture
    answer = await fetcher.fetch(address)
    picture = Picture(answer.status, address)
    if answer.status == Status.OK:
        picture = (await asyncio.to_thread(check, answer.data, *limits)).at(address)
        store.keep(picture, answer.data)
    if answer.final:
        store.record(address, picture)
    return picture


def _read(path: Path, config: ImagesConfig, store: "Store") -> Picture:
    """The picture in a local file."""
    source = path.name.encode("utf-8", "replace").decode()
    try:
        with path.open("rb") as file:
            data = file.read(config.max_bytes + 1)
    except OSError as error:
        raise UserError(f"images.folder: {path}: {error.strerror}") from error
    picture = check(data, config.max_bytes, config.max_pixels).at(source)
    store.keep(picture, data)
    return picture


@dataclass(frozen=True)
class Store:
    """Bytes by content hash and results by address, in a folder that survives a kill.

    Results that the next try may change (no connection, "too many requests") are not recorded.
    All file names are hashes.

    Attributes:
        folder: of this key alone.
        kept: where the pictures that are OK go for other keys, too.
    """

    folder: Path
    kept: KeptPictures | None = None

    def keep(self, picture: Picture, data: bytes) -> None:
        """Store the bytes of a picture that is OK."""
        if picture.status == Status.OK:
            _write(self._file(self.folder, picture), data)

    def record(self, address: str, picture: Picture) -> None:
        """Remember what an address gave; after `keep`, as the record vouches for the bytes."""
        _write(self._record(address), json.dumps(asdict(picture)).encode())
        if self.kept and picture.status == Status.OK:
            self.kept.keep(address, self._file(self.folder, picture))

    def find(self, address: str) -> Picture | None:
        """What `record` got for this address, if its bytes are there and whole."""
        try:
            picture = Picture(**json.loads(self._record(address).read_bytes()))
            if picture.status != Status.OK:
                return picture
            data = self._file(self.folder, picture).read_bytes()
        except (OSError, ValueError, TypeError):
            return None
        return picture if sha256(data).hexdigest() == picture.sha256 else None

    def reuse(self, address: str, max_bytes: int, max_pixels: int) -> Picture | None:
        """The picture that another key kept of this address; its limits may have been others."""
        file = self.kept.find(address) if self.kept else None
        if file is None:
            return None
        picture = check(file.read_bytes(), max_bytes, max_pixels).at(address)
        if picture.status == Status.OK:
            own = self._file(self.folder, picture)
            own.parent.mkdir(parents=True, exist_ok=True)
            link(file, own)
            self.record(address, picture)
        return picture

    def publish(self, pictures: Iterable[Picture], out: Path) -> None:
        """Put the bytes of all pictures that are OK under `out`, each content once."""
        for picture in {p.sha256: p for p in pictures if p.status == Status.OK}.values():
            target = self._file(out, picture)
            target.parent.mkdir(parents=True, exist_ok=True)
            link(self._file(self.folder, picture), target)

    def _record(self, address: str) -> Path:
        name = address_hash(address)
        return self.folder / "fetched" / name[:2] / f"{name}.json"

    @staticmethod
    def _file(root: Path, picture: Picture) -> Path:
        name = picture.sha256 or ""
        return root / FILES / name[:2] / f"{name}.{picture.extension}"


def _write(path: Path, data: bytes) -> None:
    """Write a file so that a kill leaves all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def write(pictures: Sequence[Picture], out: Path) -> None:
    """Write images.parquet (row i is item i) and statistics.json (items by status)."""
    columns = {
        ITEM: pa.array(range(len(pictures)), pa.int32()),
        STATUS: [str(picture.status) for picture in pictures],
        SHA256: [picture.sha256 for picture in pictures],
        SOURCE: [picture.source for picture in pictures],
        WIDTH: [picture.width for picture in pictures],
        HEIGHT: [picture.height for picture in pictures],
    }
    pq.write_table(pa.table(columns, schema=IMAGES), out / TABLE)
    counts = Counter(str(picture.status) for picture in pictures)
    write_json(out / STATISTICS, {str(status): counts[status] for status in Status})


def stored_files(images: Path) -> dict[str, Path]:
    """The files of an `images` artifact by content hash."""
    return {path.stem: path for path in sorted((images / FILES).glob("*/*"))}
