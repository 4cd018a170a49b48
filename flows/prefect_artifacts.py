"""What a run leaves on Prefect's own page: its summary, its metrics, a link to the report."""

from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.events import emit_event

from brmrs.artifacts import ArtifactStore
from brmrs.columns import by_metric
from brmrs.runs import Run
from brmrs.serving.current import Verdict


def publish_artifacts(run: Run, summary: dict[str, Any], store: ArtifactStore) -> None:
    """Create the Prefect artifacts of a run that ended well."""
    create_table_artifact(
        key="run-summary",
        table=[{**stage, "digest": stage["digest"][:12]} for stage in summary["stages"]],
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
        create_link_artifact(
            key="report", link=path.resolve().as_uri(), link_text=f"Report of run {run.name}"
        )


def publish_verdict(run: Run, verdict: Verdict) -> None:
    """The numbers of a promotion as an artifact, and the verdict as an event."""
    what = "promoted" if verdict.promoted else "not-promoted"
    numbers = verdict.comparison or {}
    create_table_artifact(
        key="promotion",
        table=[{"what": name, "value": value} for name, value in numbers.items()],
        description=f"Run {run.name} {what.replace('-', ' ')}: {verdict.reason}",
    )
    emit_event(
        event=f"brmrs.retrain.{what}",
        resource={"prefect.resource.id": f"brmrs.run.{run.name}", "brmrs.name": run.config["name"]},
        payload={"reason": verdict.reason, "comparison": numbers},
    )
