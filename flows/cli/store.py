"""The commands of `brmrs` that look into the artifact store or clean it."""

from typing import Annotated

import typer

from brmrs.store.artifacts import ArtifactStore
from flows.cli import tables as show
from flows.cli.console import console
from flows.cli.options import STORE, Artifacts, AsJson
from flows.cli.tables import print_json

app = typer.Typer()
out = console()

RunName = Annotated[str, typer.Argument(metavar="RUN", help="Its name, or the end of it.")]


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
    """Show a run: what it started from, its stages with keys and artifacts, metrics, machine."""
    from brmrs.store.runs import find

    store = ArtifactStore(artifacts)
    found = find(store, run)
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
    """Say what two runs differ in: inputs, configuration, code, libraries, artifacts, metrics."""
    from brmrs.store.lineage import difference
    from brmrs.store.runs import find

    store = ArtifactStore(artifacts)
    found = difference(find(store, old), find(store, new), store)
    if as_json:
        print_json(found)
    else:
        show.difference(out, found)


@app.command()
def origin(
    digest: Annotated[str, typer.Argument(help="Of an artifact, or its first letters.")],
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Trace an artifact back to the files from outside that it was made from."""
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
            out.print(f"missing or damaged: {row['stage']} {row['digest'][:12]}")
        out.print("every artifact verifies" if not rows else "the next run makes them anew")
    if rows:
        raise typer.Exit(2)


@app.command()
def gc(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest runs to keep.")],
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Remove artifacts that no kept run reaches, and what killed runs left behind."""
    from brmrs.serving.housekeeping import collect

    garbage = collect(ArtifactStore(artifacts), keep)
    if as_json:
        print_json({"removed": garbage.paths, "bytes": garbage.bytes})
    else:
        out.print(f"removed {len(garbage.paths)} files and folders, {show.size(garbage.bytes)}")
