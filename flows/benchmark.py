"""The flow `benchmark`: several recommenders and seeds over one data set."""

import time
from pathlib import Path
from typing import Any

from prefect import State, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from brmrs.errors import UserError
from brmrs.experiments.cells import cells
from brmrs.experiments.compare import IncompleteError, Outcome, Variant, table, variants
from brmrs.stages import BY_NAME, externals, needed
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.fingerprint import fingerprint
from brmrs.store.locks import UnderWayError
from brmrs.store.records import from_text
from flows.full_pipeline import refused, run_stages
from flows.run_names import run_name
from flows.server.liveness import watched
from tasks.pipeline import stage_tasks
from tasks.stage import StageRequest

OWN = ("train", "evaluate")  # stages of one training; the others are shared


def _run_name() -> str:
    parameters = flow_run.parameters
    seeds = ",".join(map(str, parameters["seeds"]))
    return run_name(
        f"benchmark-{Path(parameters['config']).stem}",
        [",".join(parameters["models"]), f"seeds={seeds}", *parameters["overrides"]],
    )


@flow(name="brmrs", flow_run_name=_run_name)
def benchmark(
    config: Path,
    models: list[str],
    seeds: list[int],
    overrides: list[str] = [],  # noqa: B006 - Prefect reads the default, nothing changes it
    artifacts: Path = Path("artifacts"),
) -> dict[str, Any] | State[Any]:
    """Train and evaluate every recommender with every seed; cached stages are not run again.

    Only one training runs at a time, as two on the same cores would distort the measured times.

    Args:
        config: the YAML file of the data set.
        models: names of recommenders; the others are compared with the first.
        seeds: of training.
        overrides: `section.field=value`, over all files.
        artifacts: root of the artifact store.

    Returns:
        The table (see `brmrs.experiments.compare.table`), or the state `Refused`.

    Raises:
        UserError: a fault that the user can fix, before any comparison.
        IncompleteError: some trainings failed; it carries the table of the others.
    """
    every = variants(config, overrides, models, seeds)
    watched()
    store = ArtifactStore(artifacts)
    settings = every[0].config
    try:
        with store.running(f"{settings.name}, benchmark", wait=settings.concurrency == "wait"):
            shared = run_stages(settings, store, _shared(every), (), "benchmark")
            result = table([_outcome(variant, shared, store) for variant in every], store)
    except UnderWayError as error:
        return refused(error)
    create_table_artifact(
        key="benchmark",
        table=[cells(row, result) for row in result["rows"]],
        description=", ".join(filter(None, (result["name"], result["note"]))),
    )
    if any(row["faults"] for row in result["rows"]):
        raise IncompleteError(result)
    return result


def _shared(every: list[Variant]) -> str:
    """The stages that the recommenders read from, in order, with commas between them."""
    read = {stage.name for each in every for stage in needed(each.config, "evaluate")}
    return ",".join(name for name in BY_NAME if name in read and name not in OWN)


def _outcome(variant: Variant, shared: runs.Run, store: ArtifactStore) -> Outcome:
    """Train and evaluate one variant as a separate run. Its failure does not stop the others."""
    started = time.perf_counter()
    name = runs.new_name(store)
    values = variant.config.model_dump(mode="json")
    stages = needed(variant.config, "evaluate")
    own = tuple(stage for stage in stages if stage.name in OWN)
    prints = {**shared.fingerprint, **fingerprint(variant.config, externals(own))}
    request = StageRequest(
        config=variant.config, fingerprint=prints, artifacts=store.root, run=name
    )
    records = {each.name: shared.stages[each.name] for each in stages if each.name not in OWN}
    for stage in own:
        task: Any = stage_tasks((stage,), store.root, name)[stage.name].with_options(
            task_run_name=f"{stage.name} {variant.model} seed {variant.seed}"
        )
        upstream = {each: records[each].to_text() for each in stage.upstream}
        state = task(request, upstream, return_state=True)
        result = state.result(raise_on_failure=False)
        if isinstance(result, BaseException):
            fault = str(result) if isinstance(result, UserError) else repr(result)
            get_run_logger().error("%s seed %d: %s", variant.model, variant.seed, fault)
            return Outcome(variant, fault=fault)
        records[stage.name] = from_text(result)
    seconds = round(time.perf_counter() - started, 3)
    run = runs.Run(name, values, prints, records, seconds, runs.this_machine(), "benchmark")
    runs.save(run, store)
    return Outcome(variant, run)
