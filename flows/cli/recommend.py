"""The commands of `brmrs` that recommend from a run, and that choose the served run."""

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brmrs.errors import UserError
from brmrs.store.artifacts import ArtifactStore
from flows.cli import tables as show
from flows.cli.chosen import chosen, tell_newer
from flows.cli.console import console, line
from flows.cli.options import STORE, Artifacts, AsJson
from flows.cli.tables import print_json

if TYPE_CHECKING:
    from brmrs.models.bundle import Bundle
    from brmrs.serving.recommend import Ranked
    from brmrs.store.runs import Run

app = typer.Typer()
out = console()

Count = Annotated[int, typer.Option("-k", min=1, help="Number of items.")]
RunName = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Its name, the end of it, or latest, served, previous; default: the served run.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="NAME", help="The data set, where the store has several."),
]


@app.command()
def recommend(
    user: Annotated[str | None, typer.Option(help="User id, as in the data.")] = None,
    history: Annotated[
        list[str],
        typer.Option(
            metavar="ID,ID,...",
            help="Items of a new user, with commas between them, instead of --user. Repeat the "
            "option for ids that have commas.",
        ),
    ] = [],  # noqa: B006
    k: Count = 10,
    run_name: RunName = None,
    data: Data = None,
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Recommend items to a user of the data, or to a new user with a history."""
    from brmrs.serving.recommend import recommend as best
    from brmrs.serving.recommend import recommend_to_new_user

    if (user is None) == (not history):
        raise UserError("name a user of the data by --user, or a new user's items by --history")
    store = ArtifactStore(artifacts)
    run = _answering(store, run_name, data)
    model = _bundle(store, run)
    if user is not None:
        _show_items(store, run, best(model, user, k), as_json)
        return
    items = _ids(history, model.item_index)
    ranked, unknown = recommend_to_new_user(model, items, k)
    if unknown and not as_json:
        line(out, f"not in the data, left out of the history: {', '.join(unknown)}")
    _show_items(store, run, ranked, as_json, history=items, unknown=unknown)


def _ids(values: Sequence[str], known: Container[str]) -> list[str]:
    """Each value that is a known id, and the parts between the commas of all others."""
    parts = ([value] if value in known else value.split(",") for value in values)
    return [part.strip() for several in parts for part in several if part.strip()]


@app.command()
def similar(
    item: Annotated[str, typer.Option(help="Item id, as in the data.")],
    k: Count = 10,
    run_name: RunName = None,
    data: Data = None,
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """List the items most similar to an item."""
    from brmrs.serving.recommend import similar as nearest

    store = ArtifactStore(artifacts)
    run = _answering(store, run_name, data)
    _show_items(store, run, nearest(_bundle(store, run), item, k), as_json)


@app.command()
def current(as_json: AsJson = False, artifacts: Artifacts = STORE) -> None:
    """Show the run that is served for each data set, and every decision about it."""
    from brmrs.serving.current import read

    found = read(ArtifactStore(artifacts))
    if as_json:
        print_json({"served": found.served, "history": [vars(past) for past in found.history]})
    else:
        show.promotions(out, found)


@app.command()
def promote(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Its name, the end of it, latest or previous.")
    ],
    artifacts: Artifacts = STORE,
) -> None:
    """Serve a run from now on, without a comparison."""
    from brmrs.serving.current import ANSWERING
    from brmrs.serving.current import promote as serve

    store = ArtifactStore(artifacts)
    found = serve(store, run)
    tell_newer(store, run, found, *ANSWERING)
    line(out, f"run {found.name} is served for {found.config['name']}")


@app.command()
def rollback(data: Data = None, artifacts: Artifacts = STORE) -> None:
    """Serve the run again that was served before the current one."""
    from brmrs.serving.current import roll_back

    run = roll_back(ArtifactStore(artifacts), data)
    line(out, f"run {run.name} is served again for {run.config['name']}")


def _answering(store: ArtifactStore, run_name: str | None, data: str | None) -> "Run":
    from brmrs.serving.current import ANSWERING, NEEDED, serving
    from brmrs.store.runs import sound

    if run_name is None:
        return serving(store, data)
    return sound(chosen(store, run_name, *ANSWERING), store, *NEEDED)


def _bundle(store: ArtifactStore, run: "Run") -> "Bundle":
    from brmrs.models.bundle import load

    return load(store.path(run.artifact("train")))


def _show_items(
    store: ArtifactStore, run: "Run", ranked: "Ranked", as_json: bool, **more: list[str]
) -> None:
    from brmrs.serving.current import read
    from brmrs.stages import ITEMS

    names = show.item_names(store.path(run.artifact("ingest"), ITEMS))
    rows = [
        {"rank": rank, "asin": asin, "score": score, "title": names.get(asin, asin)}
        for rank, asin, score in ranked
    ]
    served = read(store).served.get(run.config["name"], ())
    promoted = bool(served) and served[-1] == run.name
    model, data = run.config["model"]["name"], run.config["name"]
    answer: dict[str, Any] = {"run": run.name, "model": model, "data": data, "promoted": promoted}
    answer |= more
    if as_json:
        print_json({**answer, "items": rows})
    else:
        mark = "" if promoted else ", not promoted"
        show.items(out, rows, f"{model} on {data}, run {run.name}{mark}")
