"""Times of the service under load, beside a bare handler that returns a constant.

`python bench/service.py [--workers N] [--seconds S]` writes a made-up run of 20,000 users and 7,000
items, starts `brmrs serve`, and lets wrk ask for recommendations of random users over 1, 8 and 64
connections. The bare handler is the same server (uvicorn, as many workers) without a framework, and
answers the same number of bytes. Needs wrk.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from uvicorn.supervisors import Multiprocess

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]  # the made-up run is that of the tests

from served_store import Maker  # noqa: E402

from brmrs.service.process import listen  # noqa: E402
from brmrs.store.artifacts import ArtifactStore  # noqa: E402

USERS, ITEMS, DIM = 20_000, 7_000, 64
CONNECTIONS = (1, 8, 64)
K = 10
SCRIPT = """
math.randomseed(1)
request = function()
  local path = string.format("/v1/users/U%05d/recommendations?k={k}", math.random(0, {users} - 1))
  return wrk.format("GET", path)
end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %f %f %f %f %d\\n", latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, latency.max / 1000,
    summary.requests / summary.duration * 1e6,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"""


async def bare(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer every request with the same bytes."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * 2000})


def serve_bare(port: int, workers: int) -> None:
    """Serve the bare handler as the service is served."""
    listening = listen("127.0.0.1", port)
    config = uvicorn.Config(
        "service:bare", workers=workers, lifespan="off", access_log=False, log_level="warning"
    )
    if workers == 1:
        uvicorn.Server(config).run([listening])
    else:
        Multiprocess(config, [listening]).run()


@contextmanager
def server(command: list[str], port: int) -> Iterator[str]:
    """A process that serves on the port."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "bench")])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                httpx.get(f"{url}/healthz", timeout=1)
                break
            except httpx.TransportError:
                time.sleep(0.2)
        time.sleep(3)  # the other workers
        yield url
    finally:
        process.terminate()
        process.wait(60)


def load(url: str, connections: int, seconds: int, script: Path) -> list[float]:
    """p50, p99 and most in ms, requests per second, failed requests."""
    threads = str(min(2, connections))
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (.*)", done.stdout)
    assert found, done.stdout
    return [float(value) for value in found[1].split()]


def main() -> None:
    """Print one line per server and number of connections."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--port", type=int, default=8899)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, script = ArtifactStore(Path(folder) / "artifacts"), Path(folder) / "load.lua"
        script.write_text(SCRIPT.replace("{k}", str(K)).replace("{users}", str(USERS)))
        Maker(store, "bench", users=USERS, items=ITEMS, dim=DIM // 2).write()
        common = ["--port", str(given.port), "--workers", str(given.workers)]
        servers = {
            "bare handler": [
                *(sys.executable, "-c"),
                f"import service; service.serve_bare({given.port}, {given.workers})",
            ],
            "brmrs serve": [
                *(sys.executable, "-m", "flows.cli.app", "serve"),
                *("--artifacts", str(store.root), *common),
            ],
        }
        print(f"{USERS:,} users, {ITEMS:,} items, {DIM} dimensions, {given.workers} workers")
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the start")
        print(
            f"{'server':14}{'connections':>12}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}"
            f"{'requests/s':>12}{'failed':>8}"
        )
        for name, command in servers.items():
            with server(command, given.port) as url:
                load(url, 8, 2, script)
                for connections in CONNECTIONS:
                    p50, p99, most, rate, failed = load(url, connections, given.seconds, script)
                    print(
                        f"{name:14}{connections:12}{p50:9.2f}{p99:9.2f}{most:9.1f}"
                        f"{rate:12.0f}{failed:8.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
