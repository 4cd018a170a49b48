"""The flow `brmrs`: from a dump to a trained, evaluated and published recommender."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import State, flow, get_run_logger
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled

from brmrs.config.load import load
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.serving.housekeeping import sweep
from brmrs.stages import externals, needed
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.locks import UnderWayError
from brmrs.store.modalities import check_modalities
from brmrs.store.records import Record, from_text
from brmrs.store.shared.address import check
from brmrs.store.shared.artifacts import share
from brmrs.system.cluster import check_installed
from flows.run_names import changes, run_name
from flows.server.liveness import watched
from flows.server.page import publish_run, tag_run
from flows.server.parameters import takes_sections
from tasks.pipeline import fingerprint, stage_tasks
from tasks.stage import StageRequest


def _run_name() -> str:
    parameters = flow_run.parameters
    path = parameters["config"]
    try:
        settings = _settings(parameters)
        changed = changes(load(Path(path)), settings) if path else []
    except UserError:  # the flow raises it again
        return "brmrs"
    options = [f"{name}={parameters[name]}" for name in ("until", "refresh") if parameters[name]]
    return run_name(f"{settings.name}-{settings.model.name}", [*changed, *options])


def _settings(parameters: Mapping[str, Any]) -> PipelineConfig:
    """The file's configuration, overridden by the given sections.

    Raises:
        UserError: the file or a section is wrong, or they do not fit together.
    """
    path = parameters["config"]
    names = PipelineConfig.model_fields
    given = {name: parameters[name] for name in names if parameters.get(name) is not None}
    return load(Path(path) if path else None, sections=given)


@flow(name="brmrs", flow_run_name=_run_name)
@takes_sections
def full_pipeline(
    *,
    config: Path | None = None,
    artifacts: Path = Path("artifacts"),
    until: str | None = None,
    refresh: tuple[str, ...] = (),
    kind: runs.Kind = "run",
    **sections: Any,
) -> dict[str, Any] | State[Any]:
    """Run the stages that are not cached.

    Args:
        config: YAML file to start from; without it, the defaults.
        artifacts: root folder of the artifact store.
        until: the last stage to run, or several with commas between them.
        refresh: stages to run even if they are cached.
        kind: the command, for the list of runs.
        sections: fields of the configuration, by section; they override the file's.

    Returns:
        The run's summary (see `brmrs.store.runs.Run.summary`), or the state `Refused`.

    Raises:
        UserError: a fault that the user can fix; finished stages stay cached.
    """
    settings = _settings({"config": config, **sections})
    watched()
    store = ArtifactStore(artifacts)
    try:
        with store.running(settings.name, wait=settings.concurrency == "wait"):
            run = run_stages(settings, store, until, refresh, kind)
            summary = publish_run(run, store)
    except UnderWayError as error:
        return refused(error)
    get_run_logger().info("run %s ended after %.1f s", run.name, run.seconds)
    return summary


def refused(error: UnderWayError) -> State[Any]:
    """The state of a run that was refused because of another one; its result raises the error."""
    return Cancelled(name="Refused", message=str(error), data=error)


def run_stages(
    config: PipelineConfig,
    store: ArtifactStore,
    until: str | None,
    refresh: tuple[str, ...],
    kind: runs.Kind = "run",
) -> runs.Run:
    """Submit every stage, and save the run's manifest, also after a failure.

    A stage starts as soon as the stages that it reads from have ended. The caller holds the lock.

    Raises:
        UserError, StageError: of the first failed stage in order, after all others have ended.
    """
    started = time.perf_counter()
    sweep(store)
    tag_run(config)
    stages = needed(config, until)
    check_modalities(config, stages)
    if config.store.shared:
        check(config.store.shared)
    if config.execution.engine == "ray":
        check_installed()
    prints = fingerprint(config, externals(stages))
    run = runs.new_name(store)
    tasks = stage_tasks(stages, store.root, run)
    futures: dict[str, PrefectFuture[str]] = {}
    for stage in stages:
        forced = stage.name in refresh
        request = StageRequest(
            config=config, fingerprint=prints, artifacts=store.root, run=run, refresh=forced
        )
        upstream = {name: futures[name] for name in stage.upstream}
        stage_task = tasks[stage.name].with_options(refresh_cache=forced)
        futures[stage.name] = stage_task.submit(request, upstream)
    for future in futures.values():
        future.wait()
    records, failure = _outcomes(futures)
    share(records.values(), config.store.shared, store)
    seconds = round(time.perf_counter() - started, 3)
    values = config.model_dump(mode="json")
    failed = str(failure).partition("\n")[0] if failure else ""
    made = runs.Run(run, values, prints, records, seconds, runs.this_machine(), kind, failed)
    # A benchmark saves a run for each training instead, unless this is the only run.
    if records and (failure or kind != "benchmark"):
        runs.save(made, store)
    if failure:
        raise failure
    return made


def _outcomes(
    futures: dict[str, PrefectFuture[str]],
) -> tuple[dict[str, Record], BaseException | None]:
    """The records of the stages that ended well, and the first failure in order.

    Stages after it could not start, or ended on their own.
    """
    records: dict[str, Record] = {}
    failure: BaseException | None = None
    for name, future in futures.items():
        if not future.state.is_final():
            continue  # it never started, as a stage that it reads failed: Prefect leaves it pending
        result = future.result(raise_on_failure=False)
        if isinstance(result, str):
            records[name] = from_text(result)
        elif failure is None:
            failure = result if isinstance(result, BaseException) else RuntimeError(repr(result))
    return records, failure
