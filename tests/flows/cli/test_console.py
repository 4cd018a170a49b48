"""What reaches the terminal: literal text without control characters, readable at 80 columns."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brmrs.store.artifacts import ArtifactStore
from brmrs.store.plan import Step
from brmrs.store.records import Artifact, Record
from brmrs.store.runs import Run
from flows.cli import tables, tables_compare
from flows.cli.console import SafeConsole, fitting_table, folding_table, line, plain
from flows.cli.export import listed

ATTACKS = [
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "a\rb",
    "\u202egpj.exe",
    "\u2066x\u2069",
    "\u200b\u200e",
    "\x00\x08",
    "\ud800",
    "\U000e0041",
    "soft\u00adhyphen",
    "filler\u3164\uffa0",
    "selector\ufe00\U000e0100",
    "note\U0001d173",
    "\U0010fffd",
]

UNSAFE = set("\x1b\x9b\r\x00\u202e\u2066\u200b\u00ad\u3164\ufe00\ud800")
UNSAFE |= set("\U000e0041\U0001d173\U0010fffd")


def screen(width: int = 80, *, terminal: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return SafeConsole(file=file, width=width, force_terminal=terminal), file


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_control_characters_are_shown_as_replaced(attack: str) -> None:
    assert not set(attack) & UNSAFE & set(plain(attack))
    console, file = screen()
    line(console, f"id {attack}")
    table = folding_table(attack, title=attack)
    table.add_row(attack)
    console.print(table)
    console.print(attack)
    fitting_table(console, ["name"], [[attack]])
    shown = file.getvalue()
    assert "\ufffd" in shown
    assert plain(shown) == shown


def test_marks_do_not_cover_other_lines() -> None:
    assert plain("a" + "\u0335" * 500 + "b") == "a" + "\u0335" * 4 + "b"


WORDS = ["\u0645\u06cc\u200c\u062e", "👩\u200d🚀", "e\u0301", "\u05e9\u05dc", "Tiếng"]


@pytest.mark.parametrize("text", WORDS)
def test_words_of_any_language_stay(text: str) -> None:
    assert plain(text) == text


def test_colours_of_our_own_remain() -> None:
    console, file = screen(terminal=True)
    line(console, ("error:", "bold red"), " [/red] \x1b[31m")
    assert file.getvalue().startswith("\x1b[1;31merror:")
    assert "[/red] \ufffd[31m" in file.getvalue()


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", ":smile:", "[link=file:///]y"])
def test_markup_is_text(name: str) -> None:
    console, file = screen()
    line(console, name)
    table = folding_table(name)
    table.add_row(name)
    console.print(table)
    assert file.getvalue().count(name) == 3


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "run": "20261128-130813-123-abcd",
        "kind": "run",
        "failed": "",
        "name": "baby",
        "model": "most-popular",
        "seed": 0,
        "seconds": 1234.5,
        "stages": [{"state": "ran"}] * 11,
        "metrics": {"test": {"recall@20": 0.1, "ndcg@20": 0.05}},
        **changes,
    }


NAMES = [f"202611{day}-13081{day}-123-ab{day}" for day in (28, 27, 26, 25)]
KINDS = ("run", "retrain", "benchmark", "tune")


def runs_at(width: int, **changes: Any) -> list[str]:
    """`brmrs runs` of a run of each kind."""
    console, file = screen(width)
    several = [
        summary(run=name, kind=kind, **{field: value[place] for field, value in changes.items()})
        for place, (name, kind) in enumerate(zip(NAMES, KINDS, strict=True))
    ]
    tables.runs(console, several)
    lines = file.getvalue().splitlines()
    assert all(len(each) <= width for each in lines[:5])
    return lines


def test_runs_are_readable_at_80_columns() -> None:
    """What all rows share goes first, then the date in the names; every command takes their end."""
    header, *rows, same = runs_at(80)
    assert " ".join(header.split()) == "run command model ran seconds recall@20 ndcg@20"
    assert same == "the same in all rows: data: baby; seed: 0"
    assert [row.split()[:4] for row in rows] == [
        [name.partition("-")[2], kind, "most-popular", "11/11"]
        for name, kind in zip(NAMES, KINDS, strict=True)
    ]
    header, *rows, same = runs_at(80, seed=(0, 1, 2, 3))
    assert " ".join(header.split()) == "run command model seed ran seconds recall@20 ndcg@20"
    assert [row.split()[0] for row in rows] == [name[-8:] for name in NAMES]
    assert same == "the same in all rows: data: baby"
    header, *_, left_out = runs_at(80, seed=(0, 1, 2, 3), name=("baby", "sports", "toys", "x"))
    assert " ".join(header.split()) == "run command data model seed ran seconds recall@20"
    assert left_out == "too narrow for: ndcg@20; --json has all"


def test_a_wide_terminal_shows_every_column() -> None:
    header, first, *_ = runs_at(120)
    assert " ".join(header.split()) == "run command data model seed ran seconds recall@20 ndcg@20"
    assert first.split()[0] == NAMES[0]


def test_names_of_runs_are_cut_only_if_they_stay_apart() -> None:
    console, file = screen(60)
    ends = ["20260101-000000-000-aaaa", "20260102-000000-000-aaaa", "mine"]
    fitting_table(console, ["run", "x"], [[end, "y" * 40] for end in ends], runs=["run"])
    assert all(end in file.getvalue() for end in ends)
    console, file = screen(60)
    ends = ["20260101-000000-000-aaaa", "20260101-000001-000-aaaa", "mine"]
    fitting_table(console, ["run", "x"], [[end, "y" * 40] for end in ends], runs=["run"])
    assert [row.split()[0] for row in file.getvalue().splitlines()[1:]] == [
        "000000-000-aaaa",
        "000001-000-aaaa",
        "mine",
    ]


def test_a_narrow_column_takes_the_place_that_a_wide_one_leaves() -> None:
    console, file = screen(20)
    names = ["name", "narrow", "wide"]
    row = ["x" * 10, "123456", "y" * 15]
    assert fitting_table(console, names, [row], optional=["narrow", "wide"]) == ["wide"]
    assert "123456" in file.getvalue()


def test_headers_of_several_words_are_folded() -> None:
    console, file = screen(20)
    hidden = fitting_table(console, ["model", "test recall@20"], [["x" * 9, "0.1234"]])
    assert hidden == []
    assert [each.split() for each in file.getvalue().splitlines()[:2]] == [
        ["test"],
        ["model", "recall@20"],
    ]


def stored(name: str, made_by: list[str]) -> Run:
    stages = ("visual_training", "train", "report")
    records = {
        stage: Record("0" * 64, {}, Artifact(stage, "1" * 64, {}, 1234), by, 12.3)
        for stage, by in zip(stages, made_by, strict=True)
    }
    file = {"name": "reviews.jsonl.gz", "sha256": "b2f355" + "0" * 58, "bytes": 366_000}
    config = {"name": "shop", "note": "", "model": {"name": "br-mrs"}, "train": {"seed": 0}}
    prints = {"reviews": {"sha256": "0" * 64, "files": [file]}}
    return Run(name, config, prints, records, 1.0, {})


def test_a_run_is_readable_at_80_columns(tmp_path: Path) -> None:
    """Seconds stay; who made a stage is told by the end of the name, digests by their start."""
    store = ArtifactStore(tmp_path)
    old, new = NAMES[1], NAMES[0]
    console, file = screen()
    tables.one_run(console, stored(new, [old, old, new]), store)
    _, reviews, header, *rows = file.getvalue().splitlines()
    assert reviews == "reviews: reviews.jsonl.gz, 366 kB, sha256 b2f355000000…"
    assert " ".join(header.split()) == "stage key artifact made by run seconds size"
    assert [row.split()[3:5] for row in rows[:3]] == [
        [each.partition("-")[2], "12.3"] for each in (old, old, new)
    ]
    console, file = screen()
    tables.one_run(console, stored(new, [new] * 3), store)
    assert f"the same in all rows: made by run: {new}" in file.getvalue()


def test_a_run_that_failed_is_told_apart() -> None:
    console, file = screen(200)
    tables.runs(console, [summary(failed="report failed: KeyError: 'x'", metrics={})])
    assert "run, failed" in file.getvalue()
    assert "20261128-130813-123-abcd failed: report failed: KeyError: 'x'" in file.getvalue()


def test_many_reasons_are_folded() -> None:
    console, file = screen(200)
    reasons = tuple(f"code module{n}.py" for n in range(26))
    tables.plan(console, [Step("train", "runs", ("configuration train.seed 0 -> 1", *reasons))])
    shown = file.getvalue()
    assert "configuration train.seed 0 -> 1; code module0.py; code module1.py" in shown
    assert "and 23 more of code" in shown
    assert "module3" not in shown


def test_differences_have_sign_interval_and_natural_order() -> None:
    console, file = screen(200)
    metrics = {f"test.recall@{k}": [0.1, 0.1 + k / 100] for k in (10, 20, 5)}
    interval = {"test.recall@5": {"low": 0.01, "high": 0.09, "users": 1200.0}}
    tables.difference(console, {"metrics": metrics}, interval)
    first, second, third = file.getvalue().splitlines()
    assert first == (
        "metrics test.recall@5: 0.1000 -> 0.1500 (+0.0500, 95 % interval +0.0100 to +0.0900 over "
        "1,200 users)"
    )
    assert second.endswith("0.1000 -> 0.2000 (+0.1000)")
    assert "@20" in third


def compared(models: tuple[str, str], width: int = 80) -> str:
    """The comparison of two runs."""
    against = {"difference": 0.01, "low": -0.02, "high": 0.03, "effect": 0.5}
    against |= {"p_holm": 0.04, "p_bh": 0.03}
    rows = [
        {
            "run": f"20261128-174532-116-4a6{n}",
            "model": model,
            "seed": 0,
            "values": {"ndcg@20": 0.1},
        }
        for n, model in enumerate(models)
    ]
    rows[0]["against_first"], rows[1]["against_first"] = {}, {"ndcg@20": against}
    result = {"data": "shop", "split": "test", "users": 9, "metrics": ["ndcg@20"], "rows": rows}
    result |= {
        "definitions": {"effect": "rank-biserial", "p (Holm)": "a", "p (BH)": "b"},
        "comparisons": 1,
    }
    console, file = screen(width)
    tables_compare.runs(console, result)
    return file.getvalue()


def test_compared_runs_are_readable_at_80_columns() -> None:
    text = compared(("br-mrs", "ease"))
    assert "the same in all rows: seed: 0" in text
    assert "p (BH): b" in text
    narrow = compared(("br-mrs", "ease"), 74)
    assert "too narrow for: p (BH); --json has all" in narrow
    assert "p (BH): b" not in narrow  # nor is the column shown
    assert "p (Holm): a" in narrow


def test_a_folder_of_many_files_is_listed_in_one_line() -> None:
    many = [f"shop/text/{n}.npy" for n in range(21)]
    assert listed(["shop/a.tsv", *many, "shop/z.tsv"]) == [
        "shop/a.tsv",
        "shop/text/ (21 files)",
        "shop/z.tsv",
    ]
