"""The output of a run on Prefect's page: summary, metrics, path of the report."""

from base64 import b64encode
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.runtime import flow_run

from brmrs.columns import by_metric
from brmrs.config.pipeline import PipelineConfig
from brmrs.serving.current import Verdict
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run


def publish_artifacts(run: Run, summary: dict[str, Any], store: ArtifactStore) -> None:
    """Create the Prefect artifacts of a finished run."""
    create_table_artifact(
        key="run-summary",
        table=[_row(stage) for stage in summary["stages"]],
        description=f"Run {run.name}: {summary['name']}, {summary['model']}",
    )
    metrics = summary["metrics"]
    if metrics:
        rows = [
            {"metric": name, **{split: f"{values[name]:.4f}" for split, values in metrics.items()}}
            for name in sorted(metrics["test"], key=by_metric)
        ]
        create_table_artifact(
            key="metrics", table=rows, description=f"Run {run.name} {summary['note']}".strip()
        )
    if "report" in run.stages:
        path = store.path(run.artifact("report")) / "report.html"
        # Not a link, because browsers do not follow file:// links.
        create_markdown_artifact(
            f"Open this file in a browser:\n\n```\n{path.resolve()}\n```\n",
            key="report",
            description=f"Report of run {run.name}",
        )
    if "train" in run.stages and run.stages["train"].run == run.name:
        _publish_curve(run, store)


def _row(stage: dict[str, Any]) -> dict[str, Any]:
    """One row of the table of stages."""
    return {
        "stage": stage["name"],
        "state": stage["state"],
        "seconds": stage["seconds"],
        "peak MB": stage["peak_memory_bytes"] // 10**6,
        "kB": stage["bytes"] // 10**3,
        "digest": stage["digest"][:12],
        "path": stage["path"],
    }


def _publish_curve(run: Run, store: ArtifactStore) -> None:
    """The training curve as an image in Markdown: Prefect's image artifacts show their address."""
    from brmrs.report.figures import standalone  # loads altair; only after training
    from brmrs.report.training import read_curves

    drawn = read_curves(store.path(run.artifact("train")))
    if drawn:
        create_markdown_artifact(
            "\n\n".join(f"![{each.title}]({_address(standalone(each))})" for each in drawn),
            key="training-curve",
            description=f"Validation metric and loss terms of the training in run {run.name}",
        )


def _address(svg: str) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def tag_run(config: PipelineConfig) -> None:
    """Tag the flow run with its data set and its model, so that it can be searched for."""
    tags = {*flow_run.tags, config.name, config.model.name}
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, tags=sorted(tags))


def publish_verdict(run: Run, verdict: Verdict) -> None:
    """Create an artifact with the numbers of a promotion, and emit its verdict as an event."""
    what = "promoted" if verdict.promoted else "not-promoted"
    numbers = verdict.comparison or {}
    create_table_artifact(
        key="promotion",
        table=[{"what": name, "value": value} for name, value in numbers.items()],
        description=f"Run {run.name} {what.replace('-', ' ')}, {verdict.state}: {verdict.reason}",
    )
    emit_event(
        event=f"brmrs.retrain.{what}",
        resource={"prefect.resource.id": f"brmrs.run.{run.name}", "brmrs.name": run.config["name"]},
        payload={"state": verdict.state, "reason": verdict.reason, "comparison": numbers},
    )
