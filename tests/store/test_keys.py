import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import BY_NAME
from brmrs.store import keys
from brmrs.system.code import SHAPES_NO_OUTPUT

ROOT = Path(__file__).parents[2]


def code_of(stage: str, root: Path, model: str = "br-mrs") -> dict[str, str]:
    """The code part of a stage's key, computed over a copy of the project."""
    script = (
        "import json; from brmrs.store import keys; from brmrs.config.load import parse;"
        "from brmrs.stages import BY_NAME;"
        f"c = parse({{'model': {model!r}}}, 'test');"
        f"print(json.dumps(keys.fixed_parts(BY_NAME[{stage!r}], c)['code']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    code: dict[str, str] = json.loads(done.stdout)
    return code


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "brmrs", tmp_path / "brmrs")
    return tmp_path


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def test_a_comment_or_docstring_changes_no_key(project: Path) -> None:
    before = code_of("ingest", project)
    path = project / "brmrs" / "ingest" / "kcore.py"
    text = path.read_text().replace('"""', '"""Another first word. ', 1)
    path.write_text("# a comment\n" + text + "\n# another\n")
    assert code_of("ingest", project) == before


def test_a_real_change_counts_for_the_stages_that_import_it_and_no_other(project: Path) -> None:
    stages = ("ingest", "split", "train")
    before = {name: code_of(name, project) for name in stages}
    with (project / "brmrs" / "ingest" / "kcore.py").open("a") as file:
        file.write("\nEXTRA = 1\n")
    after = {name: code_of(name, project) for name in stages}
    assert changed(before["ingest"], after["ingest"]) == {"brmrs.ingest.kcore"}
    assert after["train"] == before["train"]
    assert after["split"] == before["split"]


def test_only_the_configured_recommender_counts(project: Path) -> None:
    before = {model: code_of("train", project, model) for model in ("bm3", "lightgcn")}
    with (project / "brmrs" / "models" / "bm3.py").open("a") as file:
        file.write("\nEXTRA = 1\n")
    after = {model: code_of("train", project, model) for model in ("bm3", "lightgcn")}
    assert changed(before["bm3"], after["bm3"]) == {"brmrs.models.bm3"}
    assert after["lightgcn"] == before["lightgcn"]


def test_a_file_beside_a_module_is_part_of_it(project: Path) -> None:
    before = code_of("report", project)
    with (project / "brmrs" / "report" / "page.css").open("a") as file:
        file.write("<!-- -->")
    assert changed(before, code_of("report", project)) == {"brmrs.report.page"}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_stage_has_code(name: str) -> None:
    code = keys.fixed_parts(BY_NAME[name], PipelineConfig())["code"]
    assert BY_NAME[name].module in code
    assert not SHAPES_NO_OUTPUT & set(code)


def test_libraries_are_those_that_the_code_imports() -> None:
    parts = keys.fixed_parts(BY_NAME["text_features"], PipelineConfig())
    assert {"torch", "transformers", "sentence-transformers", "tokenizers", "numpy"} <= set(
        parts["libraries"]
    )
    assert "pillow" in keys.fixed_parts(BY_NAME["report"], PipelineConfig())["libraries"]
    assert "torch" not in keys.fixed_parts(BY_NAME["ingest"], PipelineConfig())["libraries"]


def test_making_keys_loads_no_stage() -> None:
    script = (
        "import sys; from brmrs.store import keys;"
        "from brmrs.config.pipeline import PipelineConfig;"
        "from brmrs.stages import STAGES;"
        "[keys.fixed_parts(stage, PipelineConfig()) for stage in STAGES];"
        "print(sorted({'torch', 'torchvision', 'polars', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
