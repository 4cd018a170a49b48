"""The flow behind `brmrs/retrain`: look for new dumps, train on them, promote the model or not."""

import logging
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Completed

from brmrs.config.load import load
from brmrs.config.pipeline import PipelineConfig
from brmrs.ingest.arrivals import let_rest, look, named_files, wait_for
from brmrs.serving import current
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.locks import UnderWayError
from flows.full_pipeline import refused, run_stages
from flows.run_names import run_name
from flows.server.liveness import watched
from flows.server.page import publish_run, publish_verdict

LOG = logging.getLogger("brmrs.retrain")
NO_NEW_DATA, PROMOTED, NOT_PROMOTED = "NoNewData", "Promoted", "NotPromoted"


def _run_name() -> str:
    parameters = flow_run.parameters
    options = [f"{name}={parameters[name]}" for name in ("path", "force") if parameters[name]]
    return run_name(
        f"retrain-{Path(parameters['config']).stem}", [*parameters["overrides"], *options]
    )


@flow(name="brmrs", flow_run_name=_run_name)
def retrain(
    config: Path,
    path: str = "",
    overrides: tuple[str, ...] = (),
    force: bool = False,
    artifacts: Path = Path("artifacts"),
) -> State[dict[str, Any]]:
    """Train on the configured dumps if they differ from those of the last training.

    Args:
        config: the YAML file, with its section `retrain`.
        path: of a new file in a configured place, to wait for until it is complete; "": take the
            complete files.
        overrides: `SECTION.FIELD=VALUE`, as for `brmrs run --set`.
        force: run the pipeline even if the dumps are the same.
        artifacts: root of the artifact store.

    Returns:
        A completed state `NoNewData`, `Promoted` or `NotPromoted` that holds `{"state", "reason",
        "run", "verdict", "comparison"}`, or the state `Refused`.

    Raises:
        UserError: a fault that the user can fix; finished stages stay cached.
    """
    settings = load(config, overrides)
    watched()
    store = ArtifactStore(artifacts)
    past = current.read(store)
    known = past.digests(settings.name)
    for file in [*named_files(settings), *([Path(path)] if path else [])]:
        wait_for(file, settings, known)
    let_rest(settings)
    try:
        with store.running(f"{settings.name}, retrain", wait=settings.concurrency == "wait"):
            return _retrain(settings, store, force=force)
    except UnderWayError as error:
        return refused(error)


def _retrain(settings: PipelineConfig, store: ArtifactStore, *, force: bool) -> State[Any]:
    past = current.read(store)
    arrivals = look(settings, past.digests(settings.name))
    for path, fault in arrivals.unfinished.items():
        LOG.warning("left out for now: %s %s", path, fault)
    for reason in arrivals.set_aside.values():
        LOG.warning("set aside, no dump: %s", reason)
    if not arrivals.has_interactions:
        reason = "no complete file of interactions where the configuration points"
        return _ended(NO_NEW_DATA, reason)
    if arrivals.contents == past.trained_on(settings.name) and not force:
        return _ended(NO_NEW_DATA, "the same bytes as at the last retraining")
    served = current.of_data_set(store, settings.name)
    started = _started_from(served, arrivals.into(settings), store)
    run = run_stages(started, store, None, (), kind="retrain")
    publish_run(run, store)

    from brmrs.serving.promotion import judge  # loads torch, which `NoNewData` does without

    verdict = judge(store, run, settings.retrain)
    current.conclude(store, run, verdict, arrivals.contents)
    publish_verdict(run, verdict)
    name = PROMOTED if verdict.promoted else NOT_PROMOTED
    return _ended(name, f"{verdict.state}: {verdict.reason}", run.name, verdict)


def _started_from(
    served: runs.Run | None, settings: PipelineConfig, store: ArtifactStore
) -> PipelineConfig:
    """The configuration, with a warm start if one is wanted and the served model fits."""
    if not settings.retrain.warm_start or served is None:
        return settings
    if not store.verify(served.artifact("train")):
        LOG.warning(
            "training starts anew: the model of run %s, which is served, is damaged", served.name
        )
        return settings
    if served.config["model"] != settings.model.model_dump(mode="json"):
        LOG.info("training starts anew: run %s, which is served, has another model", served.name)
        return settings
    folder = store.path(served.artifact("train"))
    train = settings.train.model_copy(update={"warm_start": folder})
    return settings.model_copy(update={"train": train})


def _ended(
    name: str, reason: str, run: str | None = None, verdict: current.Verdict | None = None
) -> State[Any]:
    outcome = {
        "state": name,
        "reason": reason,
        "run": run,
        "verdict": verdict.state if verdict else None,
        "comparison": verdict.comparison if verdict else None,
    }
    return Completed(name=name, message=reason, data=outcome)
