"""Odd YAML, in a file or after `--set`: a configuration or one line, never another exception."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brmrs.config import plain
from brmrs.config.load import load
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError

EXAMPLES = int(os.environ.get("BRMRS_FUZZ", "100"))
ODD = [
    "0x_",
    "2026-13-45",
    "!!int x",
    "!!int ''",
    "!!float x",
    "!!timestamp x",
    "!!binary x",
    "!!python/object:os.system x",
    "!!set {a, b}",
    "!!omap [a]",
    "9" * 5000,
    "-" + "9" * 30,
    "[" * 300,
    "{a: " * 300,
    '"\\ud800"',
    '"\\0"',
    "&a [*a]",
    "&a {b: *a}",
    "*a",
    "{<<: 1}",
    "{<<: [1]}",
    "{? [a] : b}",
    "? {a: b}\n: c",
    "{1: 2}",
    "{null: 2}",
    "2026-01-02",
    "2026-01-02T03:04:05Z",
    "=",
    "190:20:30",
    ".inf",
    "1e999",
    "0b_",
    "%",
    "@",
    "\t",
    "\x00",
    "\x1b",
    "\ud800",
    "--- a\n--- b",
]
FIELDS = ["train.epochs", "train", "name", "note", "ingest.reviews", "model", "model.dim"]
FIELDS += ["features.text.model", "graphs.beta", "evaluate.k", "plugins", "x.y", "train.epochs.z"]


def outcome(path: Path, override: str) -> str | None:
    """The error, which is one line; None if the configuration is valid."""
    try:
        config = load(path, (override,))
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    config.to_yaml().encode()  # what is accepted can be stored
    return None


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("odd") / "c.yaml"
    path.touch()
    return path


@pytest.mark.parametrize("field", FIELDS)
def test_odd_values_of_overrides(empty: Path, field: str) -> None:
    for value in ODD:
        told = outcome(empty, f"{field}={value}")
        named = told is None or told.startswith(f"--set {field}=")
        assert named or field == "plugins", ascii(value)  # a plug-in that is absent names itself


@pytest.mark.parametrize("value", ODD, ids=lambda value: ascii(value)[:20])
def test_odd_values_in_files(tmp_path: Path, value: str) -> None:
    path = tmp_path / "c.yaml"
    for text in (value, f"train:\n  epochs: {value}\n", f"note: {value}"):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            load(path).to_yaml().encode()
        except UserError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)


@pytest.mark.parametrize("value", ["0x_", "2026-13-45", "!!int x", "9" * 5000, "[" * 3000])
def test_the_values_that_ended_in_a_traceback_are_refused(empty: Path, value: str) -> None:
    told = outcome(empty, f"train.epochs={value}")
    assert told is not None
    assert told.startswith("--set train.epochs=")
    assert len(told) < 600


def test_few_aliases_that_stand_for_billions_of_values(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 12))]
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="more than 100,000 values"):
        load(path)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(ODD)
    | st.text("0123456789_xeE+-.:!&*[]{},'\"\\ \n~", max_size=12)
)
PARTS = [*PipelineConfig.model_fields, "text", "visual", "beta", "dim", "epochs", "", "x", "0"]


@settings(max_examples=EXAMPLES)
@example(field="train.epochs", value="0x_")
@given(field=st.lists(st.sampled_from(PARTS), max_size=3).map(".".join), value=SCALARS)
def test_no_override_ends_in_another_exception(empty: Path, field: str, value: Any) -> None:
    outcome(empty, f"{field}={value}")


@settings(max_examples=EXAMPLES)
@given(
    text=st.text("abtrainmodelsgph0123456789:-?[]{}&*!|>'\"%@`#,. \n\t\\_~<=", max_size=60)
    | st.binary(max_size=40)
)
def test_no_file_ends_in_another_exception(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        load(path)
    except UserError as error:
        assert "\n" not in str(error)


@settings(max_examples=EXAMPLES // 2)
@given(
    values=st.recursive(
        SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(PARTS), inner)
    )
)
def test_no_parameter_ends_in_another_exception(values: Any) -> None:
    sections = values if isinstance(values, dict) else {"train": values}
    try:
        load(None, sections=sections).to_yaml().encode()
    except UserError as error:
        assert "\n" not in str(error)


def test_plain_values_stay_what_they_are() -> None:
    text = "a: [1, 2.5, x, null, true, {b: -3}]\n"
    assert plain.from_yaml(text) == {"a": [1, 2.5, "x", None, True, {"b": -3}]}
