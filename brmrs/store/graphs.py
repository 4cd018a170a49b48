"""The statistics of the stage `graphs`. They are untrusted (see `brmrs.system.untrusted`)."""

from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from brmrs.errors import UserError
from brmrs.system import untrusted

_OPEN = ConfigDict(extra="allow")  # later versions may add fields
_Count = Annotated[int, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Graph(TypedDict):
    """One graph.

    Attributes:
        nodes: n.
        edges: E.
        nodes_without_edges: as their best neighbours have a similarity of 0.
        support: share of the edges that each signal supports.
        recall_of_exact: share of the exact neighbours that an approximate search found.
    """

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    nodes: _Count
    edges: _Count
    nodes_without_edges: _Count
    support: dict[str, _Share]
    recall_of_exact: NotRequired[_Share]


class Graphs(TypedDict):
    """`statistics.json` of the stage graphs."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    item: Graph
    text: Graph
    visual: Graph
    user: Graph


_GRAPHS = TypeAdapter(Graphs)


def read_graphs(path: Path) -> dict[str, Graph]:
    """The graphs by name.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        found = untrusted.read(path, _GRAPHS)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{path}: no statistics of graphs ({reason}); run the pipeline again"
        ) from error
    return {name: found[name] for name in Graphs.__annotations__}  # type: ignore[literal-required]


def recalls(path: Path) -> dict[str, float]:
    """The share of the exact neighbours that was found, of each graph with approximate neighbours.

    Empty if all graphs are exact, or the artifact was removed.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return {}
    graphs = read_graphs(path)
    return {
        name: each["recall_of_exact"] for name, each in graphs.items() if "recall_of_exact" in each
    }
