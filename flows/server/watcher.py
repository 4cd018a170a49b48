"""The watcher of `brmrs up`: starts `brmrs/retrain` when the complete dumps change.

It polls the places of the deployment's configuration every few seconds, which works on every file
system, also on network shares. The flow decides whether the dumps are new. The watcher only
compares them with those that it saw before. It also reports flow runs whose process has ended.
"""

import logging
import time
from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from brmrs.config.load import load
from brmrs.errors import UserError
from brmrs.ingest.arrivals import Arrivals, absent, look, named_files
from brmrs.serving import current
from brmrs.store.artifacts import ArtifactStore
from flows.server.liveness import report_crashed

DEPLOYMENT = "brmrs/retrain"
SECONDS_BETWEEN_LOOKS = 2.0
LOG = logging.getLogger(__name__)

Files = dict[str, dict[Path, str]]  # see Arrivals.files


class Watcher:
    """Looks for dumps and keeps the last result."""

    def __init__(self, client: SyncPrefectClient):
        self._client = client
        self._seen: Files = {}
        self._faults: set[str] = set()

    def look(self) -> None:
        """Look once. A fault that lasts is logged only once."""
        faults: set[str] = set()
        for step in (self._report_crashed, self._start_run):
            try:
                faults |= step()
            except ObjectNotFound:
                faults.add(f"no deployment {DEPLOYMENT}; see prefect.yaml")
            except (UserError, OSError, HTTPError, PrefectHTTPStatusError) as error:
                faults.add(str(error) or type(error).__name__)
        for fault in sorted(faults - self._faults):
            LOG.warning("%s", fault)
        self._faults = faults

    def _report_crashed(self) -> set[str]:
        for name in report_crashed(self._client):
            LOG.info("run %s crashed: its process is gone", name)
        return set()

    def _start_run(self) -> set[str]:
        """Start a run if the complete files are not those of the last one.

        Returns:
            A line for each file that was set aside.
        """
        deployment = self._client.read_deployment_by_name(DEPLOYMENT)
        found = arrivals(deployment.parameters)
        if found is None:
            return set()
        if found.has_interactions and found.files != self._seen:
            run = self._client.create_flow_run_from_deployment(deployment.id)
            names = ", ".join(path.name for files in found.files.values() for path in files)
            LOG.info("started run %s for %s", run.name, names)
            self._seen = found.files
        return {f"{path} is left out: {reason}" for path, reason in found.set_aside.items()}


def arrivals(parameters: dict[str, Any]) -> Arrivals | None:
    """The dumps of the deployment's configuration; None before the places exist.

    Raises:
        UserError: the configuration or a place that it names cannot be read.
    """
    config = load(Path(parameters["config"]), tuple(parameters.get("overrides", ())))
    store = ArtifactStore(Path(parameters.get("artifacts", "artifacts")))
    past = current.read(store)
    if past.trained_on(config.name) is None and absent(config):
        return None
    found = look(config, past.digests(config.name))
    if found.unfinished.keys() & set(named_files(config)):
        return None
    return found


def main() -> None:
    """Look until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with get_client(sync_client=True) as client:
        watcher = Watcher(client)
        while True:
            watcher.look()
            time.sleep(SECONDS_BETWEEN_LOOKS)


if __name__ == "__main__":
    main()
