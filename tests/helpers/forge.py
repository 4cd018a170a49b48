"""Hypothesis strategies that change valid JSON documents, as an attacker or a bad disk would."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD_TEXTS = [
    "",
    "..",
    "../../x",
    "/etc/passwd",
    "-x",
    "a/b",
    "a\0b",
    "[/red]",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "recall",
    "recall@",
    "recall@x",
    "recall@" + "9" * 5000,
    "served",
    "latest",
    "train",
    "a" * 64,
    "nan",
    "x" * 5000,
]
ODD_NUMBERS = [0, -1, 2**31, 2**63 - 1, 2**64, 10**400, 0.5, -0.0, 1e308, float("nan")]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(ODD_NUMBERS)
    | st.sampled_from(ODD_TEXTS)
    | st.text(max_size=8)
)
ANY = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(ODD_TEXTS) | st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)
Path = tuple[str | int, ...]


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every value within a document."""
    yield path
    if isinstance(value, dict):
        for name in value:
            yield from paths(value[name], (*path, name))
    elif isinstance(value, list):
        for place in range(len(value)):
            yield from paths(value[place], (*path, place))


def _changed(draw: st.DrawFn, document: Any) -> Any:
    path = draw(st.sampled_from(list(paths(document))))
    if not path:
        return draw(ANY)
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    last = path[-1]
    kind = draw(st.sampled_from(["value", "value", "remove", "rename", "repeat"]))
    if kind == "value":
        parent[last] = draw(ANY)
    elif kind == "remove":
        del parent[last]
    elif isinstance(parent, dict):
        name = draw(st.sampled_from(ODD_TEXTS) | st.text(max_size=8))
        parent[name] = copy.deepcopy(parent[last])
        if kind == "rename" and name != last:
            del parent[last]
    else:
        parent.append(copy.deepcopy(parent[last]))
    return document


@st.composite
def forged(draw: st.DrawFn, valid: Any) -> bytes:
    """The bytes of a document with up to three changes; sometimes the bytes are damaged, too."""
    document = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        document = _changed(draw, document)
    data = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)):
        return data
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 3)) :]
