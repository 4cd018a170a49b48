"""What `brmrs up` registers: a user's pauses stay, what prefect.yaml no longer has is gone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import get_current_settings

from flows.server.deploy import POOL, deploy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
NIGHTLY, WEEKLY = {"cron": "0 3 * * *"}, {"cron": "0 4 * * 0", "timezone": "Europe/Berlin"}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """Of the tests' server, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))
    (tmp_path / "work.py").write_text(
        "from prefect import flow\n\n@flow(name='brmrs')\ndef work(): pass\n"
    )
    with get_client(sync_client=True) as made:
        yield made
        for each in made.read_deployments():
            made.delete_deployment(each.id)


class Project:
    """A prefect.yaml that changes."""

    def __init__(self, folder: Path, client: SyncPrefectClient):
        self.folder, self.client = folder, client

    def register(self, **deployments: dict[str, Any]) -> list[str]:
        entries = [
            {"name": name, "entrypoint": "work.py:work", "work_pool": {"name": POOL}, **values}
            for name, values in deployments.items()
        ]
        file = self.folder / "prefect.yaml"
        file.write_text(yaml.safe_dump({"name": "test", "deployments": entries}))
        return deploy(self.client, file, self.folder / "registered.json")

    def names(self) -> set[str]:
        return {each.name for each in self.client.read_deployments()}

    def find(self, name: str) -> DeploymentResponse:
        (found,) = [each for each in self.client.read_deployments() if each.name == name]
        return found

    def schedules(self, name: str) -> dict[str, bool]:
        """Cron line to whether it is active."""
        return {str(each.schedule.cron): each.active for each in self.find(name).schedules}  # type: ignore[union-attr]

    def pause(self, name: str, cron: str) -> None:
        found = self.find(name)
        (schedule,) = [each for each in found.schedules if each.schedule.cron == cron]  # type: ignore[union-attr]
        self.client.update_deployment_schedule(found.id, schedule.id, active=False)


@pytest.fixture
def project(tmp_path: Path, client: SyncPrefectClient) -> Project:
    return Project(tmp_path, client)


def test_what_is_paused_stays_paused_and_what_is_removed_is_gone(project: Project) -> None:
    both = {"schedules": [NIGHTLY, WEEKLY]}
    assert project.register(a=both, b={"schedules": [NIGHTLY]}, c={}) == []
    assert project.schedules("a") == {"0 3 * * *": True, "0 4 * * 0": True}

    project.pause("a", "0 4 * * 0")
    project.client.pause_deployment(project.find("c").id)
    project.client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True, concurrency_limit=3))
    assert project.register(a=both, b={}, c={}) == [
        "removed  a schedule of b, no longer in prefect.yaml"
    ]
    assert project.schedules("a") == {"0 3 * * *": True, "0 4 * * 0": False}
    assert project.schedules("b") == {}
    assert project.find("c").paused
    pool = project.client.read_work_pool(POOL)
    assert (pool.is_paused, pool.concurrency_limit) == (True, 3)

    removed = project.register(a={"schedules": [WEEKLY]}, c={})
    assert [line.split(",")[0] for line in removed] == ["removed  deployment b"]
    assert project.names() == {"a", "c"}
    assert project.schedules("a") == {"0 4 * * 0": False}


def test_what_a_user_added_by_hand_stays(project: Project) -> None:
    project.register(a={})
    flow = project.client.create_flow_from_name("brmrs")
    project.client.create_deployment(flow, "by hand", work_pool_name=POOL)
    by_hand = DeploymentScheduleCreate(schedule=CronSchedule(cron="5 5 * * *"), active=True)
    project.client.create_deployment_schedules(project.find("a").id, [by_hand])
    assert project.register(a={}) == []
    assert project.names() == {"a", "by hand"}
    assert project.schedules("a") == {"5 5 * * *": True}


def test_a_trigger_that_is_removed_is_gone(project: Project) -> None:
    trigger = {"type": "event", "expect": ["brmrs.dump"]}
    project.register(a={"triggers": [trigger]})
    resource = f"prefect.deployment.{project.find('a').id}"
    assert len(project.client.read_resource_related_automations(resource)) == 1
    project.register(a={})
    assert project.client.read_resource_related_automations(resource) == []


def test_a_file_that_cannot_be_registered_is_reported(project: Project) -> None:
    with pytest.raises(SystemExit, match="gone"):
        project.register(a={"entrypoint": "gone.py:work"})
