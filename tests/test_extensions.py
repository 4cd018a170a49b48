"""Extensions are found by reading files, imported when used, and counted in the cache keys."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from brmrs import extensions
from brmrs.config.load import load, parse
from brmrs.config.models import names, section
from brmrs.errors import UserError
from brmrs.models import registry
from brmrs.stages import BY_NAME
from brmrs.store import keys
from brmrs.system import code

MODEL = '''"""A toy."""

from typing import Literal

import torch
from pydantic import Field

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.extensions import register
from brmrs.models.base import Branch, Recommender
from {helpers} import ones


@register("{name}")
class Toy(Recommender):
    """Nobody 2026, 'A Toy'.

    More.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        scale: float = Field(2.0, gt=0)
        """Factor of all scores."""
        kind: Literal["a", "b"] = "a"
        """Of no use."""

    trainable = False
    needs = ("features",)

    def __init__(self, data, config, *, seed):
        super().__init__()
        self.branch = Branch(ones(data.users), config.scale * ones(data.items))

    def loss(self, batch, generator):
        raise NotImplementedError

    def branches(self):
        return {{FUSED: self.branch}}
'''
HELPERS = """import torch


def ones(n):
    return torch.ones(n, 1)
"""


@pytest.fixture
def path_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for cached in (code.closure, code.libraries, code.digest, code.source):
        cached.cache_clear()


pytestmark = pytest.mark.usefixtures("path_restored")


def loose(folder: Path, name: str) -> Path:
    """A plug-in file with a helper beside it."""
    (folder / f"{name}_helpers.py").write_text(HELPERS)
    file = folder / f"{name}_model.py"
    file.write_text(MODEL.format(name=f"{name}-model", helpers=f"{name}_helpers"))
    return file


def in_package(folder: Path, name: str) -> Path:
    """A plug-in file in a package, which imports a module of the package."""
    package = folder / f"{name}_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helpers.py").write_text(HELPERS)
    file = package / "model.py"
    file.write_text(MODEL.format(name=f"{name}-model", helpers=".helpers"))
    return file


def train_code(config: Any) -> dict[str, str]:
    digests: dict[str, str] = keys.fixed_parts(BY_NAME["train"], config)["code"]
    return digests


def test_a_plugin_is_read_without_being_imported(tmp_path: Path) -> None:
    file = loose(tmp_path, "unseen")
    config = parse(
        {"plugins": [str(file)], "model": {"name": "unseen-model", "scale": 3}}, source="x.yaml"
    )
    own = config.model.model_dump(exclude={"residuals"})
    assert own == {"name": "unseen-model", "scale": 3.0, "kind": "a"}
    assert registry.needs(config.model) == ("features",)
    assert parse(config.model_dump(mode="json"), "x.yaml") == config
    fields = section("unseen-model", [file]).model_fields
    assert fields["scale"].description == "Factor of all scores."
    row = next(row for row in registry.catalogue([file]) if row["name"] == "unseen-model")
    assert (row["paper"], row["trains"]) == ("Nobody 2026, 'A Toy'", False)
    train_code(config)
    assert "unseen_model" not in sys.modules
    assert "unseen-model" not in names()


def test_planning_with_a_plugin_loads_no_torch(tmp_path: Path) -> None:
    file = loose(tmp_path, "light")
    script = (
        "import sys; from brmrs.config.load import parse; from brmrs.store import keys;"
        "from brmrs.stages import STAGES; from brmrs.models.registry import catalogue;"
        f"c = parse({{'plugins': {str(file)!r}, 'model': 'light-model'}}, 'x');"
        "[keys.fixed_parts(stage, c) for stage in STAGES]; catalogue([*c.plugins]);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("make", [loose, in_package])
def test_the_code_of_a_plugin_and_its_own_modules_is_in_the_key(make: Any, tmp_path: Path) -> None:
    name = make.__name__
    file = make(tmp_path, name)
    config = parse({"plugins": [str(file)], "model": f"{name}-model"}, "x.yaml")
    own = {module for module in train_code(config) if not module.startswith("brmrs.")}
    expected = {
        "loose": {"loose_model", "loose_helpers"},
        "in_package": {"in_package_package.model", "in_package_package.helpers"},
    }
    assert own == expected[name]
    built_in = train_code(parse({"model": "bpr-mf"}, "x.yaml"))
    assert not own & set(built_in)
    # where the file lies does not count
    assert "plugins" not in str(keys.fixed_parts(BY_NAME["train"], config)["configuration"])


def test_one_more_registered_model_reruns_nothing(tmp_path: Path) -> None:
    plain = parse({"model": "lightgcn"}, "x.yaml")
    more = parse({"model": "lightgcn", "plugins": [str(loose(tmp_path, "more"))]}, "x.yaml")
    for stage in BY_NAME.values():
        assert keys.fixed_parts(stage, plain) == keys.fixed_parts(stage, more)


def test_plugins_of_files_and_overrides_add_up(tmp_path: Path) -> None:
    one, two = loose(tmp_path, "one"), loose(tmp_path, "two")
    (tmp_path / "x.yaml").write_text(f"plugins: {one}\nmodel: two-model\n")
    config = load(tmp_path / "x.yaml", (f"plugins={two}",))
    assert config.plugins == (one, two)
    assert config.model.name == "two-model"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# @register(\nx = (", "not Python"),
        ("x = 1", "registers nothing"),
        ('@register("lightgcn")\nclass A: pass', "model lightgcn, and so does"),
        ("@register(name)\nclass A: pass", "line 1: write the arguments of @register as plain"),
        ('@register("a", "robot")\nclass A: pass', "kind one of model, metric"),
        (
            '@register("a")\nclass A:\n    class Config(ModelSection):\n        x: int = torch.pi',
            "Config of model a cannot be read: name 'torch' is not defined",
        ),
        ('@register("a")\nclass A:\n    class Config: pass', "must inherit from ModelSection"),
    ],
)
def test_a_bad_plugin_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    start = "from brmrs.config.models import ModelSection\n" if "ModelSection" in text else ""
    file.write_text(start + text)
    with pytest.raises(UserError, match=message) as fault:
        parse({"plugins": [str(file)], "model": "a"}, "x.yaml")
    assert "bad.py" in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_plugin_that_is_not_there_or_fails_to_import(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.py: No such file.*name an existing file"):
        parse({"plugins": [str(tmp_path / "absent.py")], "model": "a"}, "x.yaml")
    file = loose(tmp_path, "broken")
    file.write_text(file.read_text() + "\nraise RuntimeError('no')\n")
    with pytest.raises(UserError, match=r"broken_model\.py: cannot be imported: RuntimeError: no"):
        registry.load("broken-model", [file])


def test_a_module_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    file = loose(tmp_path, "taken").rename(tmp_path / "json.py")
    with pytest.raises(UserError, match=r"json\.py: the module name json already means"):
        registry.load("taken-model", [file])


def test_an_installed_package_registers_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_package(tmp_path, "installed")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint("any", "installed_package.model", extensions.ENTRY_POINTS)]
    monkeypatch.setattr(extensions, "entry_points", lambda group: points)
    extensions._installed.cache_clear()
    try:
        assert "installed-model" in names()
        assert parse({"model": "installed-model"}, "x.yaml").model.name == "installed-model"
        assert registry.load("installed-model").__name__ == "Toy"
        points[0] = EntryPoint("any", "installed_package.absent", extensions.ENTRY_POINTS)
        extensions._installed.cache_clear()
        with pytest.raises(UserError, match=r"any = installed_package\.absent: no source"):
            names()
    finally:
        extensions._installed.cache_clear()


def test_unknown_models_are_answered_with_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"x\.yaml: model: no model 'ligthgcn'; did you mean lightgcn"
    ):
        parse({"model": "ligthgcn"}, "x.yaml")
    with pytest.raises(UserError, match=r"x\.yaml: model: name a model, such as"):
        parse({"model": {"dim": 3}}, "x.yaml")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "maml", "negatives": 3}, "model.negatives: renamed to model.n_negatives"),
        ({"name": "br-mrs", "negatives": "uniform"}, "model.negatives: renamed to model.sampler"),
        (
            {"name": "lattice", "objective": {"negatives": "uniform"}},
            "model.objective.negatives: renamed to model.objective.sampler",
        ),
    ],
)
def test_old_names_are_answered_with_the_new(model: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse({"model": model}, "x.yaml")


def test_the_schema_lists_the_built_in_models() -> None:
    from brmrs.config.pipeline import PipelineConfig

    schema = PipelineConfig.model_json_schema()
    mapping = schema["properties"]["model"]["discriminator"]["mapping"]
    assert sorted(mapping) == sorted(extensions.built_in("model"))
    assert "lambda" in json.dumps(schema["$defs"]["LightGCNConfig"]["properties"]["regularization"])
