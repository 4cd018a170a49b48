"""The content-addressed store: atomic writes, and artifacts that are verified before use.

Layout under the root:
    objects/<stage>/<digest>/       the files of an artifact
    objects/<stage>/<digest>.stat   signature of each file when it was last hashed
    objects/<stage>/.<name>/        an artifact that is being written
    records/<stage>/<key>.json      the artifact of a cache key, and the parts of the key
    scratch/<stage>/<key>/          partial work that outlives a kill
    stage_cache/<stage>/<folder>/   results that a stage reuses under other keys
    locks/                          flock files; only runs hold those in sub-folders
    current.json                    the served runs, and the history of promotions
    runs/                           manifests of runs
    failures/                       logs of failed stages
    prefect/                        the tasks' results, rewritten from the records on read

A store may be shared with others, so no file in it is trusted (see `brmrs.system.untrusted`). Its
folders may be links or mounts. Reading and writing follow them, but nothing behind a link is
removed (see `ArtifactStore.discard`).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from brmrs.errors import os_fault
from brmrs.store import locks
from brmrs.store.records import Artifact, Record, read_record
from brmrs.system import untrusted
from brmrs.system.files import (
    Signature,
    digest_file,
    digest_json,
    remove,
    signature,
    sync,
    unique_beside,
    walk,
    write_json,
)

DIGEST_LETTERS = 16  # of the hex digest in folder names; records hold the whole digest

# Errors of a missing or replaced file. Other errors (no permission, a failing disk) do not show
# that an artifact is damaged.
_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


class ArtifactStore:
    """Artifacts under one root folder. Safe for several processes at once."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, artifact: Artifact, read: str = "") -> Path:
        """The path of an artifact, or of the file in it that a declared input names."""
        folder = self.root / "objects" / artifact.stage / artifact.digest[:DIGEST_LETTERS]
        _, slash, file = read.partition("/")
        return folder / file if slash else folder

    def scratch(self, stage: str, key: str) -> Path:
        """The scratch folder of a stage under a key."""
        return self.root / "scratch" / stage / key[:DIGEST_LETTERS]

    def stage_cache(self, stage: str) -> Path:
        """The folder of a stage for all its keys."""
        return self.root / "stage_cache" / stage

    def lookup(self, stage: str, key: str, run: str = "") -> Record | None:
        """The record under a key if its artifact verifies, else None.

        Args:
            stage: the stage.
            key: the key.
            run: the current run. Only the run that made an incomplete artifact may use it.
        """
        record = read_record(self._record_path(stage, key))
        if record is None or record.key != key or record.artifact.stage != stage:
            return None
        if not record.artifact.complete and record.run != run:
            return None
        return record if self.verify(record.artifact) else None

    def stages(self) -> list[str]:
        """The stages that have records, sorted; among them those of plug-ins."""
        folder = self.root / "records"
        return sorted(path.name for path in folder.glob("*") if path.is_dir())

    def records(self, stage: str) -> list[Record]:
        """All readable records of a stage, newest last. Their artifacts are not verified."""
        paths = sorted(
            (self.root / "records" / stage).glob("*.json"),
            key=lambda path: path.lstat().st_mtime_ns,
        )
        return [record for path in paths if (record := read_record(path))]

    def verify(self, artifact: Artifact, *, full: bool = False) -> bool:
        """Whether an artifact has exactly its files, with their bytes.

        Files whose signature has not changed since they were last hashed are not read, unless
        `full`. An artifact that fails is hashed in full again next time.

        Raises:
            UserError: the files cannot be read; they are not necessarily damaged.
        """
        folder = self.path(artifact)
        try:
            found = _signatures(folder)
            if (
                not full
                and found == _read_signatures(folder)
                and found.keys() == artifact.files.keys()
            ):
                return True
            intact = digest_folder(folder, artifact.stage) == artifact
        except OSError as error:
            intact = False
            if error.errno not in _DAMAGE:
                raise os_fault(error) or error from error
        with contextlib.suppress(OSError):  # a store that cannot be written is hashed again
            if intact:
                write_json(_signature_file(folder), found)
            else:
                _signature_file(folder).unlink(missing_ok=True)
        return intact

    @contextmanager
    def writing(self, stage: str) -> Iterator[Path]:
        """A temporary folder for a stage to write into; removed unless `commit` moved it.

        It has the same parent as the final folder, which may be on a separate disk.
        """
        folder = unique_beside(self.root / "objects" / stage / "new")
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                remove(folder)

    def commit(self, folder: Path, stage: str) -> Artifact:
        """Move a finished folder to its place; an equal artifact that verifies in full stays.

        Its bytes are on the disk before this returns. Its permissions follow the umask, as some
        libraries write files that only the owner may read.
        """
        _share(folder)
        artifact = digest_folder(folder, stage)
        place = self.path(artifact)
        with self.lock(f"commit/{stage}-{artifact.digest}"):
            if self.verify(artifact, full=True):
                return artifact
            for entry in walk(folder):
                if not entry.is_symlink():
                    sync(Path(entry.path))
            sync(folder)
            self._clear(place)
            folder.rename(place)
            sync(place.parent)
            write_json(_signature_file(place), _signatures(place))
        return artifact

    def _clear(self, place: Path) -> None:
        """Clear the place of an artifact from damaged or unrelated files."""
        self.discard(place)
        if os.path.lexists(place):  # behind a link; nothing is removed there
            place.rename(place.with_name(f"{place.name}.damaged-{unique_beside(place).name[-32:]}"))

    def write_record(self, record: Record) -> None:
        """Record the artifact of a key. The artifact must be on the disk."""
        path = self._record_path(record.artifact.stage, record.key)
        write_json(path, record.to_json(), durable=True)

    def below(self, folder: str, depth: int = 1) -> Iterator[Path]:
        """The entries `depth` levels below one of the store's folders, sorted.

        Links are not followed: the folder itself and the levels in between must be real folders.
        """
        yield from _below(self.root / folder, depth)

    def links(self) -> list[Path]:
        """The store's own folders, of the first two levels, that are links."""
        top = sorted(self.root.iterdir())
        both = [level for path in top for level in (path, *_below(path, 1))]
        return [path for path in both if path.is_symlink() and path.is_dir()]

    def discard(self, path: Path) -> int:
        """Remove a file, folder or link of the store; its size in bytes.

        Only a link itself is removed, never what it points to. Nothing is removed if a folder
        between the store's root and the path is a link: files behind it do not belong to the store.
        """
        between = path.relative_to(self.root).parents
        if any((self.root / parent).is_symlink() for parent in between if parent.name):
            return 0
        return remove(path)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold an exclusive lock; waits for another process or thread that has it."""
        return locks.exclusive(self.root / "locks" / f"{name}.lock")

    def running(self, who: str = "a run", *, wait: bool = True) -> AbstractContextManager[None]:
        """The lock of a run, search or clean-up. Only one at a time may write to the store.

        Args:
            who: description of the holder, shown to those who wait.
            wait: wait for another holder to end, instead of raising.

        Raises:
            UnderWayError: another holds it.
        """
        return locks.single(self.root / "locks" / "running.lock", who, wait=wait)

    def _record_path(self, stage: str, key: str) -> Path:
        return self.root / "records" / stage / f"{key}.json"


def digest_folder(folder: Path, stage: str) -> Artifact:
    """Hash all files below a folder.

    Raises:
        OSError: a file cannot be read, or is a link or another special file (ELOOP).
    """
    paths = [folder / name for name in _signatures(folder)]
    files = {path.relative_to(folder).as_posix(): digest_file(path) for path in paths}
    size = sum(path.lstat().st_size for path in paths)
    return Artifact(stage, digest_json(files), files, size)


def _signatures(folder: Path) -> dict[str, list[int]]:
    """Signature of each file below a folder, by relative path.

    Raises:
        OSError: the folder cannot be read, or holds a link or another special file (ELOOP).
    """
    if folder.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
    found = {}
    for entry in walk(folder):
        if entry.is_dir(follow_symlinks=False):
            continue
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), entry.path)
        found[os.path.relpath(entry.path, folder)] = list(_kept(signature(status)))
    return found


def _kept(found: Signature) -> tuple[int, ...]:
    """Without the device, whose number may change when a disk is mounted again."""
    return found[:4]


def _read_signatures(folder: Path) -> object:
    try:
        return untrusted.parse(_signature_file(folder))
    except (OSError, ValueError):
        return None


def _signature_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".stat")


def _share(folder: Path) -> None:
    """Give all files and sub-folders the permissions of the folder, which follow the umask."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o777
    for entry in walk(folder):
        if entry.is_symlink():
            continue
        wanted = mode if entry.is_dir(follow_symlinks=False) else mode & 0o666
        if stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode) & 0o777 != wanted:
            with contextlib.suppress(PermissionError):  # a hard link to a file of another user
                os.chmod(entry.path, wanted)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        if folder.is_symlink():
            return
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if depth == 1:
            yield Path(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), depth - 1)
