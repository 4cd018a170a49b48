"""Artifacts of several machines: taken from a shared address, computed under its lock, put there.

Layout under the address:
    objects/<stage>/<digest>/<file>   the files of an artifact; the whole digest
    records/<stage>/<key>.json        written after all files of its artifact
    locks/<stage>/<key>/<number>      see `brmrs.store.shared.lease`

Nothing there is trusted: a record is validated, and an artifact is used only once all of its files
are in the local store with the digests of the record. A failing address never fails a run.
"""

import errno
import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from brmrs.errors import UserError, first_line
from brmrs.store.artifacts import ArtifactStore, digest_folder
from brmrs.store.records import SCHEMA, Artifact, Record
from brmrs.store.shared import lease
from brmrs.store.shared.address import Address, UnreachableError, opened
from brmrs.store.shared.lease import Lease
from brmrs.system import untrusted

LOG = logging.getLogger(__name__)
TRANSFERS = 8  # files at once
BLOCK = 2**23  # bytes that are read at once, per transfer
_IMPOSSIBLE_NAMES = {errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR}


class DamagedError(Exception):
    """An artifact at the address has other bytes than its record says."""


class SharedArtifacts:
    """The records and artifacts at a shared address.

    Args:
        address: where they are.
        local: the store of this machine.
    """

    def __init__(self, address: Address, local: ArtifactStore) -> None:
        self.address, self._local = address, local

    def record(self, stage: str, key: str) -> Record | None:
        """The record under a key; its artifact is not fetched. None if missing or not usable.

        Raises:
            UnreachableError: the address failed.
        """
        name = _record(stage, key)
        try:
            data = self.address.read(name, untrusted.MOST_BYTES)
            if data is None:
                return None
            found = untrusted.read_json(data, SCHEMA)
            if (found.key, found.artifact.stage, found.artifact.complete) != (key, stage, True):
                raise ValueError("it is of another key or stage, or incomplete")
        except ValueError as error:
            LOG.warning("%s: %s is damaged: %s", self.address.name, name, first_line(error))
            return None
        return found

    def fetch(self, record: Record) -> None:
        """Copy an artifact and its record into the local store.

        Raises:
            UnreachableError: the address failed.
            DamagedError: a file is missing, or has other bytes.
        """
        artifact = record.artifact
        started = time.perf_counter()
        if not self._local.verify(artifact):
            with self._local.writing(artifact.stage) as folder:
                self._download(artifact, folder)
                self._local.commit(folder, artifact.stage)
        self._local.write_record(record)
        LOG.info(
            "%s: taken from %s (%.1f MB, %.1f s)",
            artifact.stage,
            self.address.name,
            artifact.bytes / 1e6,
            time.perf_counter() - started,
        )

    def publish(self, record: Record, *, afresh: bool = False) -> None:
        """Copy an artifact of the local store, then its record, to the address.

        Args:
            record: the record. One of an incomplete artifact is not copied.
            afresh: also replace files that are there and have the right size.

        Raises:
            UnreachableError: the address failed.
        """
        artifact = record.artifact
        if not artifact.complete:
            return
        started = time.perf_counter()
        prefix, folder = _objects(artifact), self._local.path(artifact)
        there = {} if afresh else self.address.sizes(prefix)

        def upload(name: str) -> None:
            if there.get(name) != (folder / name).stat().st_size:
                self.address.upload(f"{prefix}/{name}", folder / name)

        with ThreadPoolExecutor(TRANSFERS) as pool:
            list(pool.map(upload, sorted(artifact.files)))
        self.address.put(_record(artifact.stage, record.key), record.to_text().encode())
        LOG.info(
            "%s: put at %s (%.1f MB, %.1f s)",
            artifact.stage,
            self.address.name,
            artifact.bytes / 1e6,
            time.perf_counter() - started,
        )

    def _download(self, artifact: Artifact, folder: Path) -> None:
        """Download the files of an artifact into an empty folder, and verify them."""
        prefix = _objects(artifact)
        sizes = self.address.sizes(prefix)
        if missing := sorted(artifact.files.keys() - sizes.keys()):
            raise DamagedError(f"{prefix}/{missing[0]} is missing")
        if sum(sizes[name] for name in artifact.files) != artifact.bytes:
            raise DamagedError(f"{prefix}: the files have another size")

        def download(name: str) -> None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for start in range(0, sizes[name], BLOCK):
                    end = min(start + BLOCK, sizes[name])
                    file.write(self.address.part(f"{prefix}/{name}", start, end))

        try:
            with ThreadPoolExecutor(TRANSFERS) as pool:
                list(pool.map(download, sorted(artifact.files)))
        except OSError as error:
            if error.errno not in _IMPOSSIBLE_NAMES:
                raise
            raise DamagedError(f"{prefix}: {first_line(error)}") from error
        found = digest_folder(folder, artifact.stage)
        if found != artifact:
            wrong = [
                name for name in artifact.files if found.files.get(name) != artifact.files[name]
            ]
            raise DamagedError(f"{prefix}/{min(wrong, default='')} has other bytes")


class Turn:
    """The right to compute one key, or its finished record.

    Attributes:
        found: the record, whose artifact is now in the local store; None: compute it.
    """

    def __init__(self, shared: SharedArtifacts | None, stage: str, key: str) -> None:
        self.found: Record | None = None
        self._shared, self._stage, self._key = shared, stage, key
        self._lease: Lease | None = None
        self._damaged: Record | None = None

    def wait(self, who: str, *, refresh: bool) -> None:
        """Take the record, or wait for the lock; see `turn`."""
        assert self._shared is not None
        found = Lease(self._shared.address, f"{self._stage}/{self._key}", who)
        reported = False
        while not self._taken(refresh):
            if found.acquire():
                self._lease = found
                if self._taken(refresh):  # another machine finished since the last look
                    self.release()
                return
            if found.holder and not reported:
                LOG.info("%s: waiting for %s, which runs it", self._stage, found.holder)
                reported = True
            time.sleep(lease.POLL)

    def publish(self, record: Record) -> None:
        """Put a computed record and its artifact at the address; a failure is a warning."""
        if self._shared is None:
            return
        try:
            if self._lease and self._lease.lost and self._record():
                return
            self._shared.publish(record, afresh=self._damaged is not None)
        except UnreachableError as error:
            _warn(self._shared, f"{self._stage} is in the local store only", error)

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._lease:
            self._lease.release()
            self._lease = None

    def _record(self) -> Record | None:
        assert self._shared is not None
        return self._shared.record(self._stage, self._key)

    def _taken(self, refresh: bool) -> bool:
        """Whether there is a record whose artifact is now in the local store."""
        assert self._shared is not None
        record = None if refresh else self._record()
        if record is None or record == self._damaged:
            return False
        try:
            self._shared.fetch(record)
        except DamagedError as error:
            LOG.warning("%s: %s; it is computed again", self._shared.address.name, error)
            self._damaged = record
            return False
        self.found = record
        return True


@contextmanager
def turn(
    address: str | None,
    local: ArtifactStore,
    stage: str,
    key: str,
    who: str,
    *,
    refresh: bool = False,
) -> Iterator[Turn]:
    """The turn of this machine for a key: `found` is its record, or this machine has the lock.

    While another machine has the lock, this one waits; it then takes the artifact. If the address
    fails, a warning is logged, and this machine computes without the lock.

    Args:
        address: `store.shared`; None: this machine always computes.
        local: the store of this machine.
        stage: the stage.
        key: the key.
        who: description of this run, shown to those who wait.
        refresh: do not take an existing record.

    Raises:
        UserError: the package for the address is not installed.
    """
    shared = SharedArtifacts(opened(address), local) if address else None
    made = Turn(shared, stage, key)
    try:
        if shared:
            try:
                made.wait(who, refresh=refresh)
            except UnreachableError as error:
                _warn(shared, f"{stage} runs without it", error)
        yield made
    finally:
        made.release()


def share(records: Iterable[Record], address: str | None, local: ArtifactStore) -> None:
    """Put at the address those records of a run that are not there, such as after a failure."""
    if address is None:
        return
    shared = SharedArtifacts(opened(address), local)
    try:
        for record in records:
            if record.artifact.complete and not shared.record(record.artifact.stage, record.key):
                shared.publish(record)
    except UnreachableError as error:
        _warn(shared, "not every result of this run is there", error)


def recorded(address: str | None, local: ArtifactStore, stage: str, key: str) -> Record | None:
    """The record of a key at the address, whose artifact is not fetched; None if there is none.

    Raises:
        UserError: the address cannot be read.
    """
    try:
        return SharedArtifacts(opened(address), local).record(stage, key) if address else None
    except UnreachableError as error:
        raise UserError(f"store.shared: {error}; correct it, or set it to null") from error


def _warn(shared: SharedArtifacts, consequence: str, error: Exception) -> None:
    LOG.warning("store.shared: %s: %s", consequence, first_line(error) or shared.address.name)


def _record(stage: str, key: str) -> str:
    return f"records/{stage}/{key}.json"


def _objects(artifact: Artifact) -> str:
    return f"objects/{artifact.stage}/{artifact.digest}"
