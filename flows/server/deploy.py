"""Register the work pool and the deployments of prefect.yaml, and respect paused schedules.

`prefect deploy` activates paused schedules again, and keeps objects that were removed from the
file.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from pydantic import BaseModel

FILE = Path("prefect.yaml")
POOL = "brmrs"


class Registered(BaseModel):
    """The objects that an earlier call registered. Only these may be removed, not those of users.

    Attributes:
        schedules: ids of the schedules from prefect.yaml, by the deployment's id.
    """

    schedules: dict[UUID, list[UUID]] = {}


def deploy(client: SyncPrefectClient, file: Path, registered: Path) -> list[str]:
    """Register everything.

    Args:
        client: of the server.
        file: prefect.yaml.
        registered: the JSON file with the registered objects.

    Returns:
        A line for each object that was removed because the file no longer has it.

    Raises:
        SystemExit: `prefect deploy` failed; with its output.
    """
    declared = {each["name"]: each for each in yaml.safe_load(file.read_text())["deployments"]}
    earlier = _read(registered)
    _make_pool(client)
    before = {each.id: each for each in client.read_deployments()}
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"prefect deploy failed: {done.stdout}{done.stderr}")
    removed = []
    now = Registered()
    for deployment in client.read_deployments():
        known = earlier.schedules.get(deployment.id)
        if deployment.name in declared and deployment.work_pool_name == POOL:
            if deployment.id in before:
                _pause_again(client, before[deployment.id], deployment)
            removed += _remove_schedules(client, deployment, declared[deployment.name], known or [])
            if not declared[deployment.name].get("triggers"):
                client.delete_resource_owned_automations(f"prefect.deployment.{deployment.id}")
            schedules = declared[deployment.name].get("schedules") and deployment.schedules
            now.schedules[deployment.id] = [each.id for each in schedules or []]
        elif known is not None:
            client.delete_resource_owned_automations(f"prefect.deployment.{deployment.id}")
            client.delete_deployment(deployment.id)
            removed.append(f"removed  deployment {deployment.name}, no longer in {file}")
    registered.write_text(now.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return removed


def _make_pool(client: SyncPrefectClient) -> None:
    """Only if there is none: a user may have paused it or changed its template."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))


def _pause_again(
    client: SyncPrefectClient, before: DeploymentResponse, after: DeploymentResponse
) -> None:
    paused = [_definition(each) for each in before.schedules if not each.active]
    for schedule in after.schedules:
        if schedule.active and _definition(schedule) in paused:
            client.update_deployment_schedule(after.id, schedule.id, active=False)
    if before.paused and not after.paused:
        client.pause_deployment(after.id)


def _definition(schedule: Any) -> str:
    """The definition of a schedule, without its id."""
    values = schedule.schedule.model_dump(mode="json")
    values.pop("anchor_date", None)  # of an interval: the moment of the registration
    return json.dumps(values, sort_keys=True)


def _remove_schedules(
    client: SyncPrefectClient,
    deployment: DeploymentResponse,
    declared: dict[str, Any],
    known: list[UUID],
) -> list[str]:
    """Remove the schedules of an earlier file. If the file has others, Prefect removes them."""
    if declared.get("schedules"):
        return []
    gone = [schedule for schedule in deployment.schedules if schedule.id in known]
    for schedule in gone:
        client.delete_deployment_schedule(deployment.id, schedule.id)
    return [f"removed  a schedule of {deployment.name}, no longer in {FILE}" for _ in gone]


def _read(registered: Path) -> Registered:
    try:
        return Registered.model_validate_json(registered.read_bytes())
    except (FileNotFoundError, ValueError):  # the first time, or damaged: nothing is removed
        return Registered()


def main() -> None:
    """Register, and print what was removed."""
    registered = get_current_settings().home / "registered.json"
    with get_client(sync_client=True) as client:
        for line in deploy(client, FILE, registered):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
