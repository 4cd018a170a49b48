"""Measure how fast artifacts are put at a shared address and taken from it.

    python bench/shared.py                      a folder, and a server of the tests on loopback
    python bench/shared.py s3://BUCKET/PREFIX   a server that the environment names

One artifact is a large file, the other has many small ones, like that of the stage `images`. The
server of the tests (moto) is one Python process, and slower than a real one.
"""

import os
import shutil
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from brmrs.store.artifacts import ArtifactStore
from brmrs.store.records import Record
from brmrs.store.shared.address import check, opened
from brmrs.store.shared.artifacts import SharedArtifacts

SHAPES = {"one file of 256 MB": (1, 2**28), "1,000 files of 30 kB": (1000, 30_000)}


def measure(address: str, folder: Path) -> None:
    """Print a row of the table for each shape."""
    check(address)
    for number, (shape, (count, size)) in enumerate(SHAPES.items()):
        here, there = (ArtifactStore(folder / f"{number}{name}") for name in ("here", "there"))
        with here.writing("bench") as out:
            for file in range(count):
                (out / f"{file}.bin").write_bytes(os.urandom(size))
            artifact = here.commit(out, "bench")
        record = Record(f"{number}" * 64, {}, artifact, "bench", 0.0)
        began = time.perf_counter()
        SharedArtifacts(opened(address), here).publish(record)
        put = time.perf_counter() - began
        began = time.perf_counter()
        SharedArtifacts(opened(address), there).fetch(record)
        taken = time.perf_counter() - began
        assert there.verify(artifact, full=True)
        megabytes = artifact.bytes / 1e6
        rates = " | ".join(
            f"{seconds:.1f} s, {megabytes / seconds:.0f} MB/s, {count / seconds:.0f} files/s"
            for seconds in (put, taken)
        )
        print(f"| {address} | {shape} | {rates} |", flush=True)


def measure_loopback(folder: Path) -> None:
    """The same with the server of the tests."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    import_module("s3fs").S3FileSystem().mkdir("bench")
    measure("s3://bench/artifacts", folder)
    server.stop()


if __name__ == "__main__":
    work = Path(tempfile.mkdtemp())
    print("| address | artifact | put | taken |\n|---|---|---|---|")
    try:
        if len(sys.argv) > 1:
            measure(sys.argv[1], work)
        else:
            measure(str(work / "shared"), work / "folder")
            measure_loopback(work / "server")
    finally:
        shutil.rmtree(work)
