"""Download raw dumps from their official addresses, with resume and digests.

During a download of NAME, `NAME.part` holds its bytes, and `NAME.part.json` the server's report.
Afterwards `NAME.sha256` holds its digest, for `sha256sum -c`.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from brmrs.errors import UserError
from brmrs.ingest.amazon.categories import CATEGORIES
from brmrs.suggest import nearest
from brmrs.system import progress
from brmrs.system.files import digest_file, read_json, write_json

# Reviews and metadata of a category, {}. For 2014 and 2018 these are the 5-core reviews, a fraction
# of all and usual in the literature; 2023 has no such files.
ADDRESSES = {
    "2014": (
        "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/reviews_{}_5.json.gz",
        "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/meta_{}.json.gz",
    ),
    "2018": (
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall/{}_5.json.gz",
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/metaFiles2/meta_{}.json.gz",
    ),
    "2023": (
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/{}.jsonl.gz",
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/meta_{}.jsonl.gz",
    ),
}
TRIES = 5  # consecutive tries without a new byte
TRIES_TO_CONNECT = 2
PAUSE = 1.0  # seconds before the second try; doubles with each
LONGEST_PAUSE = 60.0  # seconds, also for a server's Retry-After
TIMEOUT = 30.0  # seconds without a byte
REDIRECTS = 5
MEGABYTE = 1 << 20
GZIP = b"\x1f\x8b"


def download(category: str, generation: str, folder: Path) -> list[Path]:
    """Download a category's reviews and metadata. Files that exist are checked and kept.

    Args:
        category: as the data set spells it.
        generation: "2014", "2018" or "2023".
        folder: created if it does not exist.

    Returns:
        The paths of both files.

    Raises:
        UserError: no such category, no network, or the server does not give the file.
    """
    known = CATEGORIES[generation]
    if category not in known:
        near = nearest(category.replace(" ", "_"), known, 3, least=0.5)
        names = ", ".join(near or known)
        raise UserError(f"category {category!r} is not in the data of {generation}; try {names}")
    addresses = [address.format(category) for address in ADDRESSES[generation]]
    return [fetch(url, folder / url.rpartition("/")[2]) for url in addresses]


@dataclass(frozen=True)
class _Reported:
    """The server's description of a file at the first byte. It differs for another version."""

    url: str
    validator: str  # a strong ETag, else Last-Modified, else ""
    size: int | None  # bytes


class _PassingError(Exception):
    """A failure that may be temporary. The message names it."""

    def __init__(self, message: str, wait: float = 0.0, tries: int = TRIES):
        super().__init__(message)
        self.wait = wait
        self.tries = tries


def fetch(url: str, path: Path, pause: float = PAUSE) -> Path:
    """Download one gzip file, from the byte at which an earlier try stopped.

    Args:
        url: its address.
        path: the target; its folder is created.
        pause: seconds before the second try.

    Raises:
        UserError: it is not available, or `path` exists and is not the downloaded file.
    """
    record = path.with_name(f"{path.name}.sha256")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check(path, record)
            return path
        with httpx.Client(
            follow_redirects=True, max_redirects=REDIRECTS, timeout=TIMEOUT
        ) as client:
            _persist(lambda: _continue(client, url, part), part, url, pause)
        _check_content(part, url)
        record.write_text(f"{digest_file(part)}  {path.name}\n", encoding="utf-8")
        part.replace(path)
        _about(part).unlink()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; free space or choose another folder") from error
    return path


def _check(path: Path, record: Path) -> None:
    """Check that an existing file is the one that was downloaded."""
    if not record.is_file():
        raise UserError(f"{path} exists, but was not downloaded by brmrs; move it away")
    if record.read_text(encoding="utf-8").split()[:1] != [digest_file(path)]:
        raise UserError(f"{path} is not the file that was downloaded ({record.name}); remove it")


def _check_content(part: Path, url: str) -> None:
    with part.open("rb") as file:
        start = file.read(64)
    if not start.startswith(GZIP):
        part.unlink()
        _about(part).unlink()
        raise UserError(f"{url}: not gzip, it starts with {start[:20]!r}; is a proxy in between?")


def _persist(attempt: Callable[[], None], part: Path, url: str, pause: float) -> None:
    """Try until it succeeds. Give up after several tries in a row without a new byte."""
    tries = 0
    while True:
        before = _size(part)
        try:
            attempt()
            return
        except _PassingError as error:
            tries = 1 if _size(part) > before else tries + 1
            if tries >= error.tries:
                raise UserError(
                    f"{url}: {error}; gave up after {tries} tries. Run the same command later "
                    f"to continue after {_size(part):,} bytes"
                ) from error
            time.sleep(min(max(pause * 2 ** (tries - 1), error.wait), LONGEST_PAUSE))


def _continue(client: httpx.Client, url: str, part: Path) -> None:
    """One try: append the missing bytes to the part, or start again if the file has changed.

    Raises:
        _PassingError: a later try may succeed.
        UserError: none will.
    """
    reported, start = _resumable(part, url)
    headers = {"Accept-Encoding": "identity"}
    if reported:
        headers |= {"Range": f"bytes={start}-", "If-Range": reported.validator}
    try:
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code == 416:  # the file is shorter now, or it is complete here
                _forget(part)
                raise _PassingError("the server cannot continue")
            _refuse_faults(response, url)
            start, size = _start_and_size(response, reported, start, part)
            if start == 0:
                validator = _validator(response)
                write_json(_about(part), asdict(_Reported(url, validator, size)))
            _append(response, part, start, size)
    except httpx.TooManyRedirects as error:
        raise UserError(
            f"{url}: redirected more than {REDIRECTS} times; try again later"
        ) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise UserError(f"{url}: redirected to an invalid address ({error})") from error
    except httpx.ConnectError as error:
        message = f"no connection ({error}); is there a network?"
        raise _PassingError(message, tries=TRIES_TO_CONNECT) from error
    except httpx.TransportError as error:
        raise _PassingError(f"the connection broke ({error or type(error).__name__})") from error


def _refuse_faults(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status == 429 or status >= 500:
        wait = response.headers.get("Retry-After", "")
        seconds = float(wait) if wait.isascii() and wait.isdigit() else 0.0
        raise _PassingError(f"the server answers {status}", seconds)
    raise UserError(f"{url}: the server answers {status}; the file may have moved")


def _start_and_size(
    response: httpx.Response, reported: _Reported | None, start: int, part: Path
) -> tuple[int, int | None]:
    """The position of the response's content in the file, and the size of the file if known."""
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdigit() else None
    if response.status_code == 200:
        return 0, size
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    same = reported is not None and total in ("*", str(reported.size))
    if unit != "bytes" or first != str(start) or not same:
        _forget(part)
        raise _PassingError("the server sent another range than asked for")
    assert reported is not None
    return start, reported.size


def _append(response: httpx.Response, part: Path, start: int, size: int | None) -> None:
    """Write the content behind the first `start` bytes.

    Raises:
        _PassingError: it is shorter or longer than the server reported.
    """
    with (
        progress.task(f"downloading {part.stem} (MB)", (size or 0) // MEGABYTE) as task,
        part.open("r+b" if start else "wb", buffering=0) as file,  # received bytes survive a kill
    ):
        file.truncate(start)
        file.seek(start)
        task.advance(start // MEGABYTE)
        written, shown = start, start // MEGABYTE
        for block in response.iter_raw():
            file.write(block)
            written += len(block)
            task.advance(written // MEGABYTE - shown)
            shown = written // MEGABYTE
    if size is not None and written != size:
        if written > size:
            _forget(part)
        raise _PassingError(f"{written:,} bytes came instead of {size:,}")


def _resumable(part: Path, url: str) -> tuple[_Reported | None, int]:
    """The report of the part and its length, if it can be continued; else (None, 0)."""
    try:
        reported = _Reported(**read_json(_about(part)))
    except (OSError, ValueError, TypeError):
        return None, 0
    length = _size(part)
    # Without a validator another version of the file could be appended to this one.
    return (
        (reported, length) if reported.url == url and reported.validator and length else (None, 0)
    )


def _validator(response: httpx.Response) -> str:
    etag = str(response.headers.get("ETag", ""))
    weak = etag.startswith("W/") or not etag
    return str(response.headers.get("Last-Modified", "")) if weak else etag


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _about(part).unlink(missing_ok=True)


def _about(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
