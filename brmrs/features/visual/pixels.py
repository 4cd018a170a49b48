"""Decode picture files to batches of pixels, in worker processes.

A worker is `python -m brmrs.features.visual.pixels`. It reads file names, one JSON string per line,
and writes the pixels of each. It imports only Pillow and NumPy, so it starts fast. It ends with its
parent, even after a kill, because its input ends then.
"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from brmrs.images.decode import to_rgb

FEW = 64  # up to this number of pictures, threads decode: starting workers would take longer
Fit = Literal["pad", "crop"]
LONGEST = 20  # times the breadth
AHEAD = 4  # batches that are decoded in advance


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of pictures for a network.

    Attributes:
        shorter: side of the square that is resized to, in pixels: by `fit`, the shorter side of the
            picture, or the padded picture.
        size: side of the square that is then cropped from the middle.
        filter: of Pillow's resampling, by number.
        mean: of the channels, from 0 to 1.
        std: of the channels, from 0 to 1.
        fit: "crop": as it is, as in torchvision and CLIP; "pad": white margins make the picture a
            square first, so that only the edges of the longer side are cropped. A square picture
            gives the same pixels by both.
    """

    shorter: int
    size: int
    filter: int = Image.Resampling.BILINEAR
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    fit: Fit = "crop"

    def pixels(self, image: Image.Image) -> np.ndarray:
        """An RGB picture to (size, size, 3) uint8; a crop equals torchvision's to the bit.

        Pictures longer than `LONGEST` times their width are an exception. Their ends are cropped
        first, as a line of a million pixels would take gigabytes.
        """
        short = min(image.size)
        if max(image.size) > LONGEST * short:
            image = _middle(image, *(min(side, LONGEST * short) for side in image.size))
        method = Image.Resampling(self.filter)
        if self.fit == "pad":
            resized = ImageOps.pad(image, (self.shorter, self.shorter), method, "white")
        else:
            width, height = (int(self.shorter * side / short) for side in image.size)
            resized = image.resize((width, height), method)
        return np.asarray(_middle(resized, self.size, self.size))


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def decode(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """A file that `decode.check` found to be OK, to (size, size, 3) uint8."""
    return preprocessing.pixels(to_rgb(path.read_bytes()))


def batches(
    paths: Sequence[Path], preprocessing: Preprocessing, batch_size: int, *, beside: bool
) -> Iterator[np.ndarray]:
    """Decode files in order, some batches in advance; memory holds only these.

    Args:
        paths: (C,) image files.
        preprocessing: of the network.
        batch_size: B.
        beside: whether to decode while the batches are used, as with an accelerator. On the CPU the
            forward pass needs the same cores and would lose more time than decoding gains.

    Yields:
        (B, size, size, 3) uint8; the last batch may be smaller.
    """
    todo = iter(paths)
    waiting: deque[Future[np.ndarray]] = deque()
    with _decoders(preprocessing, len(paths)) as submit:
        for _ in range(0, len(paths), batch_size):
            if beside or not waiting:
                wanted = AHEAD * batch_size - len(waiting)
                waiting.extend(submit(path) for path in islice(todo, wanted))
                if not beside:
                    wait(waiting)
            count = min(batch_size, len(waiting))
            yield np.stack([waiting.popleft().result() for _ in range(count)])


@contextmanager
def _decoders(
    preprocessing: Preprocessing, count: int
) -> Iterator[Callable[[Path], Future[np.ndarray]]]:
    """A function that decodes a file in a worker, one per core, or in a thread if they are few."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ExitStack() as stack:
        idle: SimpleQueue[_Worker] = SimpleQueue()
        if count > FEW:
            for _ in range(cores or 1):
                idle.put(stack.enter_context(_worker(preprocessing)))

        def by_worker(path: Path) -> np.ndarray:
            worker = idle.get()
            try:
                return worker.decode(path)
            finally:
                idle.put(worker)

        def here(path: Path) -> np.ndarray:
            return decode(path, preprocessing)

        pool = ThreadPoolExecutor(cores)
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        yield lambda path: pool.submit(by_worker if count > FEW else here, path)


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[bytes]
    size: int

    def decode(self, path: Path) -> np.ndarray:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(os.fspath(path)).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it died before; its output will be empty
        data = stdout.read(self.size * self.size * 3)
        if len(data) < self.size * self.size * 3:
            raise RuntimeError(f"a process that decodes pictures died, at the latest on {path}")
        return np.frombuffer(data, dtype=np.uint8).reshape(self.size, self.size, 3)


@contextmanager
def _worker(preprocessing: Preprocessing) -> Iterator[_Worker]:
    command = [sys.executable, "-m", __name__, json.dumps(asdict(preprocessing))]
    # The folder that the parent imported this package from.
    root = str(Path(__file__).parents[3])
    search = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        env={**os.environ, "PYTHONPATH": search},
        start_new_session=True,  # the parent handles Ctrl-C
    )
    with process:
        try:
            yield _Worker(process, preprocessing.size)
        finally:
            process.kill()


def _serve(preprocessing: Preprocessing) -> None:
    """Decode the files named on standard input until it ends."""
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(decode(Path(json.loads(line)), preprocessing).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(Preprocessing(**json.loads(sys.argv[1])))
