"""Fetch pictures by a cluster: actors fetch, tasks decode, this process stores the bytes."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from brmrs.config.data import ImagesConfig
from brmrs.config.machines import ExecutionConfig
from brmrs.images.amazon import is_placeholder
from brmrs.images.decode import Picture, Status, best, check
from brmrs.images.fetch import Answer, Fetcher
from brmrs.images.picture_store import PictureStore
from brmrs.system import cluster, progress
from brmrs.system.cluster import Actors, Columns, Pool, Tasks

ADDRESSES = 32  # in a batch of the cluster


class Fetch:
    """The work of an actor: addresses to bytes, within its share of the limits on requests."""

    def __init__(self, config: ImagesConfig) -> None:
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fetcher: Any = None

    def __call__(self, batch: Columns) -> Columns:
        """{"row", "address"} to {"row", "status", "final", "data"}."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._fetcher = self._loop.run_until_complete(Fetcher(self._config).__aenter__())
        addresses = [address.decode("utf-8", "surrogatepass") for address in batch["address"]]
        answers = self._loop.run_until_complete(self._fetch(addresses))
        return {
            "row": batch["row"],
            "status": [str(answer.status) for answer in answers],
            "final": [answer.final for answer in answers],
            "data": [answer.data for answer in answers],
        }

    async def _fetch(self, addresses: Sequence[str]) -> list[Answer]:
        return list(await asyncio.gather(*map(self._fetcher.fetch, addresses)))


@dataclass(frozen=True)
class Check:
    """{"row", "status", "final", "data"} to the same and "picture", as JSON."""

    max_bytes: int
    max_pixels: int

    def __call__(self, batch: Columns) -> Columns:
        """See the class."""
        pictures = [
            check(bytes(data), self.max_bytes, self.max_pixels)
            if status == Status.OK
            else Picture(Status(status))
            for status, data in zip(batch["status"], batch["data"], strict=True)
        ]
        return {**batch, "picture": [json.dumps(asdict(picture)) for picture in pictures]}


def fetch_all(
    jobs: Sequence[tuple[str, ...]],
    config: ImagesConfig,
    store: PictureStore,
    execution: ExecutionConfig,
) -> dict[tuple[str, ...], Picture]:
    """The first good picture of each list of addresses, as of `brmrs.images.stage.fetch_all`.

    First the first address of every list is fetched, then the second one where that failed, ...

    Raises:
        UserError: there is no cluster.
    """
    tried: dict[tuple[str, ...], list[Picture]] = {job: [] for job in jobs}
    with progress.task("Fetching pictures", len(jobs)) as task:
        for place in range(max(map(len, jobs), default=0)):
            todo = [job for job in jobs if place < len(job) and not _good(tried[job])]
            found = _pictures([job[place] for job in todo], config, store, execution)
            for job in todo:
                tried[job].append(found[job[place]])
            task.advance(sum(_good(tried[job]) or place + 1 == len(job) for job in todo))
    return {job: best(pictures) for job, pictures in tried.items()}


def _good(tried: Sequence[Picture]) -> bool:
    return any(picture.status == Status.OK for picture in tried)


def _pictures(
    addresses: Sequence[str], config: ImagesConfig, store: PictureStore, execution: ExecutionConfig
) -> dict[str, Picture]:
    """The picture of each address: stored by this key, cached by another, or fetched."""
    found, missing = {}, []
    for address in dict.fromkeys(addresses):
        if is_placeholder(address):
            found[address] = Picture(Status.PLACEHOLDER, address)
        elif picture := (
            store.find(address) or store.reuse(address, config.max_bytes, config.max_pixels)
        ):
            found[address] = picture
        else:
            missing.append(address)
    fetchers = min(execution.workers or config.per_host, config.per_host, config.concurrency)
    batches = [
        {"row": list(range(start, end)), "address": [_encoded(each) for each in missing[start:end]]}
        for start in range(0, len(missing), ADDRESSES)
        if (end := min(start + ADDRESSES, len(missing)))
    ]
    steps: list[Tasks | Actors] = [
        Actors(Fetch(_share(config, fetchers)), most=fetchers, computes=False),
        Tasks(Check(config.max_bytes, config.max_pixels)),
    ]
    pool = Pool(execution.address, execution.workers, execution.cores)
    for batch in cluster.apply(pool, batches, steps):
        for row, picture, final, data in zip(
            *(batch[name] for name in ("row", "picture", "final", "data")), strict=True
        ):
            address, values = missing[row], json.loads(picture)
            found[address] = Picture(**{**values, "status": Status(values["status"])}).at(address)
            store.add(found[address], bytes(data))
            if final:
                store.record(address, found[address])
    return found


def _encoded(address: str) -> bytes:
    return address.encode("utf-8", "surrogatepass")


def _share(config: ImagesConfig, fetchers: int) -> ImagesConfig:
    """The limits of one of several fetchers, so that all together keep to the configuration."""
    return config.model_copy(
        update={
            "concurrency": config.concurrency // fetchers,
            "per_host": config.per_host // fetchers,
            "rate": config.rate / fetchers,
        }
    )
