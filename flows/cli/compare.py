"""The commands of `brmrs` that compare recommenders and runs."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from brmrs.errors import UserError
from flows.cli.chosen import chosen
from flows.cli.console import console
from flows.cli.options import (
    STORE,
    Artifacts,
    AsJson,
    ConfigFiles,
    Overrides,
    Plugins,
    with_plugins,
)
from flows.cli.tables import print_json

if TYPE_CHECKING:
    from optuna.study import Study

    from brmrs.config.pipeline import PipelineConfig

app = typer.Typer()
out = console()
err = console(stderr=True)


@app.command()
def benchmark(
    config: ConfigFiles,
    models: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help="Models or variants (models/NAME.yaml); all are compared with the first.",
        ),
    ],
    seeds: Annotated[str, typer.Option(metavar="0,1,...", help="Seeds of training.")] = "0",
    overrides: Overrides = [],  # noqa: B006 - Typer reads the default, nothing changes it
    plugins: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Train several models with several seeds on one data set, and compare them.

    Cached results are reused. models/NAME.yaml and tuned/DATA/NAME.yaml beside
    the configuration, if there are any, are laid over it for that model. If a
    training fails, the others' results are shown and the exit code is 1.
    """
    from brmrs.experiments.compare import IncompleteError, variants
    from brmrs.stages import externals, needed
    from brmrs.store.fingerprint import fingerprint
    from flows.cli import run_locally
    from flows.cli import tables_compare as show_benchmark

    overrides = with_plugins(overrides, plugins)
    if len(config) > 1:
        raise UserError("benchmark takes one -c; the files of the models are found beside it")
    names = [name for name in models.split(",") if name]
    numbers = _numbers(seeds)
    every = variants(config[0], overrides, names, numbers)  # reports errors before Prefect starts
    read = {name for each in every for name in externals(needed(each.config, "evaluate"))}
    fingerprint(every[0].config, tuple(sorted(read)))
    failed = False
    try:
        result = run_locally.benchmark(config[0], names, numbers, overrides, artifacts, err)
    except IncompleteError as error:
        result, failed = error.table, True
    if as_json:
        print_json(result)
    else:
        show_benchmark.benchmark(out, result)
    if failed:
        raise typer.Exit(1)


def _numbers(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds {text}: expected numbers such as 0,1,2") from error


@app.command()
def tune(
    config: ConfigFiles,
    model: Annotated[str, typer.Option(help="Model or variant to tune.")],
    trials: Annotated[
        int, typer.Option(min=1, help="Total trials, with those of earlier calls.")
    ] = 30,
    overrides: Overrides = [],  # noqa: B006
    plugins: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Search hyper-parameters by the validation metric; the test split is not used.

    After an interruption, run it again to resume. The best trial is written to
    tuned/DATA/MODEL.yaml beside the first configuration; `benchmark` finds it
    there.
    """
    from brmrs.experiments.compare import configured, tuned_file
    from flows.cli import tables_compare as show_benchmark

    overrides = with_plugins(overrides, plugins)
    first, *later = config
    settings, own = configured(first, overrides, model, later, tuned=False)
    study = _searched(settings, overrides, artifacts, trials)
    from brmrs.experiments.tune import finished, rows, winner, with_values
    from brmrs.experiments.tuned_file import write

    best = winner(study)
    file = tuned_file(first, settings.name, model)
    comments = [
        f"The best of {len(finished(study))} trials (number {best.number}) by validation "
        f"{settings.train.selection}, {best.value:.4f}; the test split was not used.",
        f"  brmrs tune {_words(config, overrides)} --model {model} --trials {trials}",
        f"  brmrs run {_words((first, *own, *later, file), overrides)}",
    ]
    replaced = file.is_file()
    write(file, with_values(settings, best.params), best.params, comments)
    result = {
        "file": str(file),
        "replaced": replaced,
        "study": study.study_name,
        "trials": rows(finished(study)),
    }
    if as_json:
        print_json(result)
    else:
        show_benchmark.tuning(out, result, best.number)


def _searched(
    settings: "PipelineConfig", overrides: list[str], artifacts: Path, trials: int
) -> "Study":
    """Run the stages before the training, and search; an interruption ends the command."""
    from brmrs.experiments.search_spaces import searchable
    from brmrs.stages import externals, needed, of_model
    from brmrs.store.artifacts import ArtifactStore
    from brmrs.store.fingerprint import fingerprint
    from brmrs.store.runs import find
    from brmrs.system import progress
    from flows.cli import run_locally

    searchable(settings)
    train = next(stage for stage in of_model(settings) if stage.name == "train")
    until = ",".join(train.upstream)
    fingerprint(settings, externals(needed(settings, until)))
    summary = run_locally.run(settings, artifacts, until, (), overrides, err, "tune")
    from brmrs.experiments.tune import tune as search

    store = ArtifactStore(artifacts)
    try:
        with progress.shown(err):
            return search(settings, find(store, summary["run"]), store, trials)
    except KeyboardInterrupt:
        err.print("\ninterrupted: finished trials are kept; run the command again to resume")
        raise typer.Exit(run_locally.INTERRUPTED) from None


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN...", help="All are compared with the first."),
    ],
    split: Annotated[
        Literal["test", "validation"], typer.Option(help="Whose metrics to compare.")
    ] = "test",
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Compare finished runs on the same users: intervals, tests, effect sizes.

    RUN: a name, the end of one, or latest, served, previous. The p-values are
    corrected for the number of comparisons.
    """
    from brmrs.columns import TEST, VALIDATION
    from brmrs.experiments.compare_runs import compare_runs
    from brmrs.store.artifacts import ArtifactStore
    from flows.cli import tables_compare as show_benchmark

    store = ArtifactStore(artifacts)
    part = {"test": TEST, "validation": VALIDATION}[split]
    result = compare_runs([chosen(store, name, "evaluate") for name in runs], store, part)
    if as_json:
        print_json(result)
    else:
        show_benchmark.runs(out, result)


def _words(files: Iterable[Path], overrides: Iterable[str]) -> str:
    """The command-line arguments for these files and overrides."""
    given = [("-c", str(path)) for path in files] + [("--set", each) for each in overrides]
    return shlex.join(word for pair in given for word in pair)
