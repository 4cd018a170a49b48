"""Configuration modules that no cache key contains declare fields; they decide nothing."""

import ast
from pathlib import Path

import pytest

from brmrs.system.code import SHAPES_NO_OUTPUT, closure

ROOT = Path(__file__).parents[2]
EXCLUDED = sorted(name for name in SHAPES_NO_OUTPUT if name.startswith("brmrs.config."))
DECLARATIONS = sorted({*EXCLUDED} - {"brmrs.config.models", "brmrs.config.shipped"})
# Each with the reason why a change in it cannot change a stage's output under an unchanged key.
PERMITTED = {
    "key": "makes the part of the key that holds the configuration",
    "section": "looks a value up; keys are made with it, too",
    "only": "resets what a stage did not declare",
    "to_yaml": "no stage calls it",
    "put": "makes the values that are validated afterwards",
}


def public_functions(module: str) -> set[str]:
    """Functions, methods and properties that other modules could use: no validators."""
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(file.read_bytes())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_")
    }


@pytest.mark.parametrize("module", DECLARATIONS)
def test_an_excluded_module_offers_no_logic(module: str) -> None:
    assert public_functions(module) <= set(PERMITTED)


def test_private_helpers_stay_in_their_module() -> None:
    """A `_helper` of an excluded module, imported elsewhere, would be logic in no key."""
    for path in (ROOT / "brmrs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module in EXCLUDED:
                taken = {alias.name for alias in node.names if alias.name.startswith("_")}
                assert not taken, path


@pytest.mark.parametrize("stage", ["brmrs.features.text.stage", "brmrs.features.visual.stage"])
def test_the_meaning_of_names_is_in_the_keys_of_the_features(stage: str) -> None:
    assert "brmrs.config.names" in closure(stage)
