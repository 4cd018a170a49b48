"""Names that tell flow runs of one data set and model apart."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort

from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from flows.full_pipeline import full_pipeline
from flows.run_names import LONGEST, changes, run_name


def test_changes_are_the_fields_that_differ() -> None:
    base = PipelineConfig()
    changed = base.model_copy(update={"train": base.train.model_copy(update={"epochs": 7})})
    assert changes(base, changed) == ["train.epochs=7"]
    assert changes(base, base) == []


def test_what_does_not_fit_is_counted() -> None:
    name = run_name("sample-br-mrs", [f"train.field{number}=1" for number in range(20)])
    assert name.startswith("sample-br-mrs train.field0=1 train.field1=1 ")
    assert len(name) < LONGEST + 5
    left_out = int(name.rpartition("+")[2])
    assert name.count("train.") + left_out == 20
    assert run_name("sample-br-mrs", []) == "sample-br-mrs"


def last_name() -> str:
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
    return run.name


@pytest.mark.usefixtures("prefect_server")
def test_the_changed_field_is_in_the_name_of_a_deployment_s_run(
    tmp_path: Path, small_config: PipelineConfig
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(small_config.model_copy(update={"name": "x"}).to_yaml())
    flow: Any = full_pipeline
    given = {"ingest": {"k": 1000}, "until": "ingest", "artifacts": tmp_path / "artifacts"}
    with pytest.raises(UserError, match=r"ingest\.k"):
        flow(config=file, **given)
    assert last_name() == "x-br-mrs ingest.k=1000 until=ingest"
