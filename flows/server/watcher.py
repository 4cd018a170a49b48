"""The watcher of `brmrs up`: a run of `brmrs/retrain` whenever other complete dumps lie there.

It looks where the deployment's own configuration points, every few seconds: looking works on every
file system, network shares included. What is new is for the flow to say; the watcher only knows
which files it has seen.
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
from brmrs.ingest.arrivals import absent, look, named_files
from brmrs.serving import current
from brmrs.store.artifacts import ArtifactStore
from flows.server.liveness import report_crashed

DEPLOYMENT = "brmrs/retrain"
SECONDS_BETWEEN_LOOKS = 2.0
LOG = logging.getLogger(__name__)

Files = dict[str, dict[Path, str]]  # see Arrivals.files


def complete_files(parameters: dict[str, Any]) -> Files | None:
    """The complete dumps where the parameters of the deployment point; None: not ready yet.

    Raises:
        UserError: the configuration or a place that it names cannot be read.
    """
    config = load(Path(parameters["config"]), tuple(parameters.get("overrides", ())))
    store = ArtifactStore(Path(parameters.get("artifacts", "artifacts")))
    past = current.read(store)
    known = past.digests(config.name)
    if past.trained_on(config.name) is None and absent(config):
        return None
    found = look(config, known)
    if not found.files["reviews"] or found.unfinished.keys() & set(named_files(config)):
        return None
    return found.files


def watch(client: SyncPrefectClient, seen: Files) -> Files:
    """Look once, and start a run if the complete files are not those of the last one."""
    deployment = client.read_deployment_by_name(DEPLOYMENT)
    files = complete_files(deployment.parameters)
    if files is None or files == seen:
        return seen
    run = client.create_flow_run_from_deployment(deployment.id)
    names = ", ".join(path.name for found in files.values() for path in found)
    LOG.info("run %s for %s", run.name, names)
    return files


def main() -> None:
    """Look until killed. What passes or can be mended is logged once, and the watcher goes on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    seen: Files = {}
    told = ""
    with get_client(sync_client=True) as client:
        while True:
            fault = ""
            try:
                for name in report_crashed(client):
                    LOG.info("run %s crashed: its process is gone", name)
                seen = watch(client, seen)
            except ObjectNotFound:
                fault = f"no deployment {DEPLOYMENT}; see prefect.yaml"
            except (UserError, OSError, HTTPError, PrefectHTTPStatusError) as error:
                fault = f"{type(error).__name__}: {error}"
            if fault and fault != told:
                LOG.warning("%s", fault)
            told = fault
            time.sleep(SECONDS_BETWEEN_LOOKS)


if __name__ == "__main__":
    main()
