"""What reaches the terminal: literal text without control characters, readable at 80 columns."""

import io
from typing import Any

import pytest
from rich.console import Console

from brmrs.store.plan import Step
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


def test_runs_are_readable_at_80_columns() -> None:
    console, file = screen(80)
    kinds = ("run", "retrain", "benchmark", "tune")
    tables.runs(console, [summary(kind=kind) for kind in kinds])
    header, *rows, left_out = file.getvalue().splitlines()
    assert all(len(row) <= 80 for row in (header, *rows))
    assert [row.split()[:4] for row in rows] == [
        ["20261128-130813-123-abcd", kind, "baby", "most-popular"] for kind in kinds
    ]
    assert left_out.startswith("too narrow for: seconds")


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


def compared(models: tuple[str, str]) -> str:
    """The comparison of two runs at 80 columns."""
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
    console, file = screen()
    tables_compare.runs(console, result)
    return file.getvalue()


def test_compared_runs_are_readable_at_80_columns() -> None:
    text = compared(("br-mrs", "ease"))
    assert "too narrow for: seed, p (BH); --json has all" in text
    assert "p (BH): b" not in text  # nor is the column shown
    assert "p (Holm): a" in text


def test_a_folder_of_many_files_is_listed_in_one_line() -> None:
    many = [f"shop/text/{n}.npy" for n in range(21)]
    assert listed(["shop/a.tsv", *many, "shop/z.tsv"]) == [
        "shop/a.tsv",
        "shop/text/ (21 files)",
        "shop/z.tsv",
    ]
