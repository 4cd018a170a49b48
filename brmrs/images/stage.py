"""The stage `images`: the items' pictures, from a folder or the web, checked, by content hash."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from brmrs.config.data import ImagesConfig
from brmrs.config.machines import ExecutionConfig
from brmrs.errors import UserError
from brmrs.images import on_cluster
from brmrs.images.address_cache import AddressCache
from brmrs.images.amazon import full_size, is_placeholder, to_try
from brmrs.images.decode import TRANSIENT, Picture, Status, best, check
from brmrs.images.fetch import Fetcher
from brmrs.images.folder import NOTHING_NAMED, by_item
from brmrs.images.picture_store import TABLE, PictureStore
from brmrs.stages import INCOMPLETE, ITEMS, StageContext
from brmrs.system import progress
from brmrs.system.files import write_json

LOG = logging.getLogger(__name__)
STATISTICS = "statistics.json"
SHARED = "shared.json"
ADDRESSES_PER_ITEM = 10  # tried at most
SHARED_BY = 3  # items with the same picture from which on it is reported
MOST_SHARED = 5  # shared pictures that are listed


def run(context: StageContext) -> None:
    """Gather the pictures; writes images.parquet, statistics.json, shared.json and files/.

    If an address was unreachable or busy, the artifact is incomplete: the next run tries these
    addresses again, and no others.

    Raises:
        UserError: the folder of pictures cannot be read.
    """
    config = context.config.images
    items = pq.read_table(context.inputs[ITEMS], columns=[ASIN, IMAGE_URLS]).to_pylist()
    store = PictureStore(context.scratch, _cache(context))
    pictures = gather(
        [item[ASIN] for item in items],
        [tuple(item[IMAGE_URLS]) for item in items],
        config,
        store,
        context.config.execution,
    )
    store.publish(pictures, context.out)
    write(pictures, context.out)
    counts = Counter(picture.status for picture in pictures)
    transient = {str(status): counts[status] for status in TRANSIENT if counts[status]}
    if transient:
        write_json(context.out / INCOMPLETE, transient)
    _report(pictures, counts)


def _report(pictures: Sequence[Picture], counts: Counter[Status]) -> None:
    """Log counts of the pictures, and what the user can do about missing ones."""
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
    again = sum(counts[status] for status in TRANSIENT)
    if again:
        LOG.info("images: the next run tries the %d unreachable and busy ones again", again)
    reused = shared(pictures)
    if reused["pictures"]:
        LOG.info(
            "images: %d items share %d pictures (placeholders, or variants of a product); %d items "
            "have %r",
            reused["items"],
            reused["pictures"],
            reused["most"][0]["items"],
            reused["most"][0]["source"],
        )
    small = sum(p.status == Status.OK and full_size(p.source or "") != p.source for p in pictures)
    if small:
        LOG.info(
            "images: %d come from addresses of thumbnails, such as ._SS40_; "
            "images.full_size=true fetches the full size",
            small,
        )


def shared(pictures: Sequence[Picture]) -> dict[str, Any]:
    """Pictures that `SHARED_BY` or more items have, by their bytes: placeholders, or variants.

    Returns:
        "pictures" and "items" count them; "most" lists the `sha256`, `items` and `source` (of the
        first item) of those with the most items.
    """
    good = [picture for picture in pictures if picture.status == Status.OK]
    counts = Counter(picture.sha256 for picture in good)
    first = {picture.sha256: picture.source for picture in reversed(good)}
    often = [(sha256, n) for sha256, n in counts.items() if n >= SHARED_BY]
    often.sort(key=lambda pair: (-pair[1], pair[0] or ""))
    return {
        "pictures": len(often),
        "items": sum(n for _, n in often),
        "most": [
            {"sha256": sha256, "items": n, "source": first[sha256]}
            for sha256, n in often[:MOST_SHARED]
        ],
    }


def _cache(context: StageContext) -> AddressCache | None:
    """Pictures of earlier runs; those of private addresses only where these are allowed."""
    if context.stage_cache is None:
        return None
    return AddressCache(
        context.stage_cache / ("any" if context.config.images.allow_private else "public")
    )


def gather(
    asins: Sequence[str],
    pictures: Sequence[tuple[str, ...]],
    config: ImagesConfig,
    store: PictureStore,
    execution: ExecutionConfig = ExecutionConfig(),  # noqa: B008 - frozen
) -> list[Picture]:
    """The picture of each item: from its first file that is one, else from its first address.

    The status of an item without a picture is the first one that the next run may change, else the
    first one.

    Args:
        asins: (I,) raw ids; they are compared with file names, never made into paths.
        pictures: (I,) the addresses of each item, and names of files in the configured folder, in
            the order to try them.
        config: folder and limits.
        store: receives the bytes; addresses that it has are not fetched.
        execution: where pictures are fetched.

    Raises:
        UserError: the folder of pictures cannot be read.
    """
    addresses = [tuple(filter(_is_address, each)) for each in pictures]
    named = {
        asin: names
        for asin, each in zip(asins, pictures, strict=True)
        if (names := [name for name in each if not _is_address(name)])
    }
    found = from_folder(asins, config, store, named)
    if not config.fetch:
        return found
    wanted = {
        row: to_try(addresses[row], enlarge=config.full_size)[:ADDRESSES_PER_ITEM]
        for row, picture in enumerate(found)
        if picture.status != Status.OK and addresses[row]
    }
    try:
        jobs = tuple(dict.fromkeys(wanted.values()))
        if execution.engine == "ray":
            fetched = on_cluster.fetch_all(jobs, config, store, execution)
        else:
            fetched = asyncio.run(fetch_all(jobs, config, store))
    except* OSError as faults:  # web errors give a status; an OSError is one of the disk
        raise UserError(f"images: {faults.exceptions[0]}") from faults
    for row, urls in wanted.items():
        found[row] = best([found[row], fetched[urls]])
    return found


def _is_address(picture: str) -> bool:
    """Whether a picture is named by its address, rather than by a file name."""
    return "://" in picture


def from_folder(
    asins: Sequence[str],
    config: ImagesConfig,
    store: PictureStore,
    named: Mapping[str, Sequence[str]] = NOTHING_NAMED,
) -> list[Picture]:
    """The picture of each item in the configured folder: MISSING where it has no file there.

    Args:
        asins: (I,) raw ids.
        config: folder and limits.
        store: receives the bytes.
        named: names of files by id, of items whose data name any.

    Raises:
        UserError: the folder of pictures cannot be read.
    """
    files = by_item(config.folder, asins, named) if config.folder else {}
    pictures = []
    with progress.task("Reading pictures", len(asins)) as task:
        for asin in asins:
            tried = [Picture(Status.MISSING)]
            for path in files.get(asin, ()):
                tried.append(_read(path, config, store))
                if tried[-1].status == Status.OK:
                    break
            pictures.append(best(tried))
            task.advance()
    return pictures


async def fetch_all(
    jobs: Iterable[tuple[str, ...]], config: ImagesConfig, store: PictureStore
) -> dict[tuple[str, ...], Picture]:
    """Fetch the first good picture of each list of addresses."""
    done: dict[tuple[str, ...], Picture] = {}
    jobs = list(jobs)
    todo = iter(jobs)  # shared: each worker takes the next list

    with progress.task("Fetching pictures", len(jobs)) as task:
        async with Fetcher(config) as fetcher, asyncio.TaskGroup() as group:

            async def work() -> None:
                for addresses in todo:
                    done[addresses] = await _first_good(addresses, fetcher, store)
                    task.advance()

            for _ in range(min(config.concurrency, len(jobs))):
                group.create_task(work())
    fetcher.report()
    return done


async def _first_good(addresses: tuple[str, ...], fetcher: Fetcher, store: PictureStore) -> Picture:
    tried = []
    for address in addresses:
        tried.append(await _from_address(address, fetcher, store))
        if tried[-1].status == Status.OK:
            break
    return best(tried)


async def _from_address(address: str, fetcher: Fetcher, store: PictureStore) -> Picture:
    """The picture of an address: stored by this key, cached by another, or fetched."""
    if is_placeholder(address):
        return Picture(Status.PLACEHOLDER, address)
    # In a thread, so that decoding a large picture does not block other transfers.
    limits = fetcher.config.max_bytes, fetcher.config.max_pixels
    picture = store.find(address) or await asyncio.to_thread(store.reuse, address, *limits)
    if picture:
        return picture
    answer = await fetcher.fetch(address)
    picture = Picture(answer.status, address)
    if answer.status == Status.OK:
        picture = (await asyncio.to_thread(check, answer.data, *limits)).at(address)
        store.add(picture, answer.data)
    if answer.final:
        store.record(address, picture)
    return picture


def _read(path: Path, config: ImagesConfig, store: PictureStore) -> Picture:
    """The picture in a local file."""
    source = path.name.encode("utf-8", "replace").decode()
    try:
        with path.open("rb") as file:
            data = file.read(config.max_bytes + 1)
    except OSError as error:
        raise UserError(f"images.folder: {path}: {error.strerror}") from error
    picture = check(data, config.max_bytes, config.max_pixels).at(source)
    store.add(picture, data)
    return picture


def write(pictures: Sequence[Picture], out: Path) -> None:
    """Write images.parquet (row i is item i), statistics.json (by status) and shared.json."""
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
    write_json(out / SHARED, shared(pictures))
