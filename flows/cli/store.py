"""The commands of `brmrs` that inspect or clean the artifact store."""

from typing import Annotated

import typer

from brmrs.store.artifacts import ArtifactStore
from flows.cli import tables as show
from flows.cli.console import console, line
from flows.cli.options import STORE, Artifacts, AsJson
from flows.cli.tables import print_json

app = typer.Typer()
out = console()

RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Its name, the end of it, or latest, served, previous."),
]


@app.command()
def runs(as_json: AsJson = False, artifacts: Artifacts = STORE) -> None:
    """List the runs, newest first, with their test metrics."""
    from brmrs.store.runs import all_runs

    store = ArtifactStore(artifacts)
    summaries = [run.summary(store) for run in all_runs(store)]
    if as_json:
        print_json(summaries)
    else:
        show.runs(out, summaries)


@app.command("show")
def show_run(run: RunName, as_json: AsJson = False, artifacts: Artifacts = STORE) -> None:
    """Show a run: input files, stages with keys and artifacts, metrics, machine."""
    from brmrs.serving.current import resolve

    store = ArtifactStore(artifacts)
    found = resolve(store, run)
    if as_json:
        stages = {name: record.to_json() for name, record in found.stages.items()}
        print_json(
            {
                **found.summary(store),
                "config": found.config,
                "fingerprint": found.fingerprint,
                "stages": stages,
                "machine": found.machine,
            }
        )
    else:
        show.one_run(out, found, store)


@app.command()
def diff(old: RunName, new: RunName, as_json: AsJson = False, artifacts: Artifacts = STORE) -> None:
    """Compare two runs: inputs, configuration, code, libraries, artifacts, metrics."""
    from brmrs.serving.current import resolve
    from brmrs.serving.intervals import intervals as metric_intervals
    from brmrs.store.lineage import difference

    store = ArtifactStore(artifacts)
    first, second = resolve(store, old), resolve(store, new)
    found, intervals = difference(first, second, store), metric_intervals(first, second, store)
    if as_json:
        print_json({**found, "intervals": intervals})
    else:
        show.difference(out, found, intervals)


@app.command()
def origin(
    digest: Annotated[str, typer.Argument(help="Of an artifact, or its first letters.")],
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Trace an artifact back to the input files that it was made from."""
    from brmrs.store.lineage import origin as trace

    steps = trace(digest, ArtifactStore(artifacts))
    if as_json:
        print_json(steps)
    else:
        show.origin(out, steps)


@app.command()
def verify(as_json: AsJson = False, artifacts: Artifacts = STORE) -> None:
    """Hash every artifact again. Exit code 2 if one is missing or damaged."""
    from brmrs.serving.housekeeping import damaged
    from brmrs.system import progress

    with progress.shown(console(stderr=True)):
        found = damaged(ArtifactStore(artifacts))
    rows = [{"stage": artifact.stage, "digest": artifact.digest} for artifact in found]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            line(out, f"missing or damaged: {row['stage']} {row['digest'][:12]}")
        line(out, "every artifact verifies" if not rows else "the next run rebuilds them")
    if rows:
        raise typer.Exit(2)


@app.command()
def gc(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest runs to keep.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing; list what would be removed.")
    ] = False,
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Remove artifacts that no kept run needs, and leftovers of killed runs."""
    from brmrs.serving.housekeeping import collect

    garbage = collect(ArtifactStore(artifacts), keep, dry_run=dry_run)
    if as_json:
        done = "would_remove" if dry_run else "removed"
        print_json({done: garbage.paths, "bytes": garbage.bytes, "links": garbage.links})
        return
    for path in garbage.paths if dry_run else ():
        line(out, path)
    done = "would remove" if dry_run else "removed"
    line(out, f"{done} {len(garbage.paths)} files and folders, {show.size(garbage.bytes)}")
    for link in garbage.links:
        line(out, f"{link} is a link; nothing behind it is removed")
