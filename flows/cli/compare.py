"""The commands of `brmrs` that compare recommenders."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from brmrs.errors import UserError
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
            help="Recommenders, or variants of them: models/NAME.yaml. Compared with the first.",
        ),
    ],
    seeds: Annotated[str, typer.Option(metavar="0,1,...", help="Of training.")] = "0",
    overrides: Overrides = [],  # noqa: B006 - Typer reads the default, nothing changes it
    plugins: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Train several recommenders with several seeds on one data set, and compare them.

    Whatever is cached is not run again. A recommender's own settings come from models/NAME.yaml
    and tuned/DATA/NAME.yaml beside the configuration, where these exist. Exit code 1 if a training
    failed; the others' results are shown all the same.
    """
    from brmrs.experiments.compare import IncompleteError, variants
    from brmrs.stages import externals, needed
    from brmrs.store.fingerprint import fingerprint
    from flows.cli import run_locally
    from flows.cli import tables_compare as show_benchmark

    overrides = with_plugins(overrides, plugins)
    if len(config) > 1:
        raise UserError("benchmark takes one -c: each model's own file is found beside it")
    names = [name for name in models.split(",") if name]
    numbers = _numbers(seeds)
    every = variants(config[0], overrides, names, numbers)  # faults are told before Prefect starts
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
    model: Annotated[str, typer.Option(help="The recommender, or a variant of one, to tune.")],
    trials: Annotated[int, typer.Option(min=1, help="In all; those of earlier calls count.")] = 30,
    overrides: Overrides = [],  # noqa: B006
    plugins: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Search a recommender's hyper-parameters by its validation metric; test is not looked at.

    Run it again after an interruption: it goes on where it stopped. The winner is written to
    tuned/DATA/MODEL.yaml beside the first configuration, where `benchmark` finds it.
    """
    from brmrs.experiments.compare import configured, tuned_file
    from brmrs.stages import externals, needed, of_model
    from brmrs.store.artifacts import ArtifactStore
    from brmrs.store.fingerprint import fingerprint
    from brmrs.store.runs import find
    from brmrs.system import progress
    from flows.cli import run_locally
    from flows.cli import tables_compare as show_benchmark

    overrides = with_plugins(overrides, plugins)
    first, *later = config
    settings, own = configured(first, overrides, model, later, tuned=False)
    train = next(stage for stage in of_model(settings) if stage.name == "train")
    until = ",".join(train.upstream)
    fingerprint(settings, externals(needed(settings, until)))
    summary = run_locally.run(settings, artifacts, until, (), overrides, err, "tune")
    from brmrs.experiments.tune import finished, rows, winner, with_values
    from brmrs.experiments.tune import tune as search
    from brmrs.experiments.tuned_file import write

    store = ArtifactStore(artifacts)
    try:
        with progress.shown(err):
            study = search(settings, find(store, summary["run"]), store, trials)
    except KeyboardInterrupt:
        err.print("\ninterrupted: finished trials are kept, the same command goes on from there")
        raise typer.Exit(run_locally.INTERRUPTED) from None
    best = winner(study)
    file = tuned_file(first, settings.name, model)
    comments = [
        f"The best of {len(finished(study))} trials (number {best.number}) by validation "
        f"{settings.train.selection}, {best.value:.4f}; test was not looked at.",
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


def _words(files: Iterable[Path], overrides: Iterable[str]) -> str:
    """How a command is given these files and overrides."""
    given = [("-c", str(path)) for path in files] + [("--set", each) for each in overrides]
    return shlex.join(word for pair in given for word in pair)
