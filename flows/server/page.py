"""The output of a run on Prefect's page: headline, comparison, metrics, link to the report."""

import logging
import re
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.runtime import flow_run

from brmrs.columns import FUSED, by_metric, metric
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import first_line
from brmrs.serving.current import Verdict
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run

if TYPE_CHECKING:
    from brmrs.report.previous import Previous

LOG = logging.getLogger(__name__)


def publish_run(run: Run, store: ArtifactStore) -> dict[str, Any]:
    """Write the report of a finished run, and create its Prefect artifacts; returns its summary."""
    found = None
    if "evaluate" in run.stages:
        from brmrs.report.previous import against_previous  # loads scipy

        found = against_previous(run, store)
    if "report" in run.stages:
        _write_report(run, store, found)
    summary = run.summary(store)
    _publish_artifacts(run, summary, store, found)
    return summary


def _write_report(run: Run, store: ArtifactStore, found: "Previous | None") -> None:
    """Write the page; a failure is a warning, because the run is complete without it."""
    from brmrs.report.run_page import write  # loads Vega

    try:
        write(run, store, previous=found)
    except Exception as error:
        LOG.warning(
            "the report of run %s was not written (%s); brmrs report %s writes it",
            run.name,
            first_line(error),
            run.name,
        )


def _publish_artifacts(
    run: Run, summary: dict[str, Any], store: ArtifactStore, found: "Previous | None"
) -> None:
    what = f"{_plain(summary['name'])}, {_plain(summary['model'])}"
    create_table_artifact(
        key="run-summary",
        table=[_row(stage) for stage in summary["stages"]],
        description=f"Stages of run {run.name}: {what}",
    )
    if summary["metrics"] and found:
        _publish_results(run, summary, store, found)
    if summary["report"]:
        path = Path(summary["report"]).resolve()
        # Browsers do not follow file:// links from a page of a server; the address can be copied.
        create_markdown_artifact(
            f"[{path.as_uri()}]({path.as_uri()})\n\nOpen this address in a browser:\n\n"
            f"```\n{path}\n```\n",
            key="report",
            description=f"Link to the report of run {run.name}, one HTML file",
        )
    if "train" in run.stages and run.stages["train"].run == run.name:
        _publish_curve(run, store)


def _publish_results(
    run: Run, summary: dict[str, Any], store: ArtifactStore, found: "Previous"
) -> None:
    """Headline, metrics, and the comparison with the previous run."""
    metrics = summary["metrics"]
    create_markdown_artifact(
        headline(run, store), key="headline", description=f"The result of run {run.name}"
    )
    rows = [
        {"metric": name, **{split: f"{values[name]:.4f}" for split, values in metrics.items()}}
        for name in sorted(metrics["test"], key=by_metric)
    ]
    note = f", {_plain(summary['note'])}" if summary["note"] else ""
    create_table_artifact(
        key="metrics", table=rows, description=f"Metrics of run {run.name}{note}, all users"
    )
    earlier = found.run.name if found.run else "none"
    what = f"Run {run.name} against the previous run of {_plain(summary['name'])}, {earlier}"
    create_table_artifact(key="comparison", table=comparison(found), description=what)


def headline(run: Run, store: ArtifactStore) -> str:
    """The result in one sentence, as Markdown."""
    found = run.evaluation(store)
    assert found is not None
    k = max(int(name.partition("@")[2]) for name in found["test"])
    recall = metric("recall", k)
    ends = found.get("intervals", {}).get(FUSED, {}).get("test", {}).get(recall)
    between = " (95 % interval {:.4f} to {:.4f})".format(*ends) if ends else ""
    baseline, values = next(iter(found["baseline"].items()))
    return (
        f"**{_plain(found['model'])}** on {_plain(run.config['name'])}: test {recall} "
        f"**{found['test'][recall]:.4f}**{between}; {baseline} {values['test'][recall]:.4f}."
    )


def comparison(found: "Previous") -> list[dict[str, Any]]:
    """Rows of the comparison with the previous run; one row of text without one."""
    if found.compared is None:
        text = found.refused or "there is no earlier evaluated run of this data set"
        return [{"comparison": "the results are the same" if found.same else text}]
    first, second = found.compared["rows"]
    rows = []
    for name in found.compared["metrics"]:
        each = second["against_first"][name]
        rows.append(
            {
                "metric": f"test {name}",
                "previous": f"{first['values'][name]:.4f}",
                "this run": f"{second['values'][name]:.4f}",
                "difference": f"{each['difference']:+.4f}",
                "95 % interval": f"{each['low']:+.4f} to {each['high']:+.4f}",
                "p (Holm)": f"{each['p_holm']:.2g}",
            }
        )
    return rows


def _plain(text: str) -> str:
    """A name without the characters that Markdown reads as markup."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>])", r"\\\1", text)


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
