"""The command of `brmrs` that diagnoses a run."""

from typing import Annotated, Any

import typer

from flows.cli.chosen import chosen
from flows.cli.console import console
from flows.cli.options import STORE, Artifacts, AsJson
from flows.cli.tables import print_json

app = typer.Typer()
out = console()
err = console(stderr=True)


@app.command()
def diagnose(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Its name, the end of it, or latest, served, previous."),
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Show which pairs moved to another set since that run."),
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="Train again with each modality permuted, replaced by noise, removed.",
        ),
    ] = False,
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Show where the modalities confuse a run's ranking, and what fusion gains.

    Computes the diagnosis if the run has none. --retrain trains the model up to
    seven times; finished trainings are cached.
    """
    from brmrs.experiments import diagnose_run
    from brmrs.store.artifacts import ArtifactStore
    from brmrs.system import progress
    from flows.cli import tables_diagnose as show

    store = ArtifactStore(artifacts)
    this = chosen(store, run, "train")
    other = chosen(store, against, "train") if against else None
    with progress.shown(err):
        found = diagnose_run.diagnosed(this, store)
        old = diagnose_run.diagnosed(other, store) if other else None
        result: dict[str, Any] = {
            "run": this.name,
            "folder": str(found.folder),
            **found.values,
            "types": found.types(),
        }
        if old is not None:
            result["against"] = old.run.name
            result["transitions"] = diagnose_run.moved(old, found)
        if retrain:
            result["retrained"] = diagnose_run.retrained(this, store)
    if as_json:
        print_json(result)
    else:
        show.diagnosis(out, result, found.sets())
