"""Each change against the exact set of stages that must rerun, over a small sample.

The report, which takes longest, is not made: whether its key changed says whether it would be.
"""

import gzip
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from whole_pipeline import Pipeline, changed

from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import BY_NAME, STAGES
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.records import read_record
from brmrs.system import code as codes

ALL = {stage.name for stage in STAGES}
MODEL = {"train", "evaluate", "diagnosis", "publish", "report"}
GRAPHS = {"graphs", *MODEL}
SPLIT = {"split", *GRAPHS}
VISUAL = {"visual_training", "visual_features"}
GOOD = re.compile(rb'{"rating":[1-5].0,.*"user_id":"A.*}')  # a review that is not broken
PICTURES = 8  # of the sample's: embedding them takes longest
# Blanks alone are left out like an empty line: another template, the same texts.
SAME_TEXTS = "{title}\n{brand}\n{categories}\n{description}\n"


@pytest.fixture(scope="module")
def config(
    small_sample: Path, small_config: PipelineConfig, tmp_path_factory: pytest.TempPathFactory
) -> PipelineConfig:
    """A dump of its own, of which every test leaves the bytes as they were."""
    data = tmp_path_factory.mktemp("data")
    (data / "images").mkdir()
    for picture in sorted((small_sample / "images").iterdir())[:PICTURES]:
        shutil.copy(picture, data / "images")
    ingest = small_config.ingest.model_dump()
    for kind in ("reviews", "metadata"):
        (path,) = ingest[kind]
        ingest[kind] = (shutil.copy(path, data),)
    small = changed(small_config, "ingest", ingest)
    small = changed(small, "images.folder", data / "images")
    return changed(small, "features.visual.batch_size", PICTURES)


@pytest.fixture(scope="module")
def made(config: PipelineConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The pipeline, run once. On one thread, as all that follow: the same bytes need the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pipeline = Pipeline(ArtifactStore(tmp_path_factory.mktemp("made") / "artifacts"))
    assert pipeline.run(config)[0] == ALL
    pipeline.stages = tuple(stage for stage in STAGES if stage.name != "report")
    yield pipeline
    torch.set_num_threads(threads)


def must_rerun(made: Pipeline, config: PipelineConfig) -> set[str]:
    """The stages that a run executes."""
    ran, _ = made.run(config)
    steps = made.plan(config)
    assert {name for name, step in steps.items() if step.state != "cached"} <= {"report"}
    return ran | ({"report"} if steps["report"].state == "runs" else set())


def test_nothing_changed(made: Pipeline, config: PipelineConfig) -> None:
    assert must_rerun(made, config) == set()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("ingest.max_bad_share", 0.2, {"ingest"}),
        ("ingest.min_rating", 1.0, {"ingest", "report"}),  # the report states it
        ("split.seed", 1, SPLIT),
        ("split.protocol", "leave-last-out", SPLIT),
        ("features.text.template", SAME_TEXTS, {"text_features"}),
        ("features.text.template", "{title}", {"text_features", *GRAPHS}),
        ("images.max_pixels", 40_000_000, {"images"}),
        ("images.max_bytes", 100, {"images", *VISUAL, *GRAPHS}),
        ("images.concurrency", 3, set()),
        ("features.visual.seed", 1, {*VISUAL, *GRAPHS}),
        ("features.visual.regions", True, {"visual_features", "train"}),  # which may read them
        ("features.replace.visual", "permuted", GRAPHS),
        ("graphs.alpha", 0.25, GRAPHS),
        ("graphs.block_bytes", 2**20, set()),
        ("execution.engine", "ray", set()),
        ("model.dim", 4, MODEL),
        ("train.learning_rate", 0.01, MODEL),
        ("train.patience", 49, MODEL),
        ("train.validate_every", 2, MODEL),
        ("evaluate.k", (5, 10), {"evaluate", "report"}),
        ("diagnosis.k", 10, {"diagnosis", "report"}),
        ("publish.k", 5, {"publish", "report"}),
        ("report.users", 1, {"report"}),
        ("name", "other", {"report"}),
        ("note", "another", {"report"}),
    ],
)
def test_a_field(
    made: Pipeline, config: PipelineConfig, field: str, value: object, expected: set[str]
) -> None:
    assert must_rerun(made, changed(config, field, value)) == expected


def lines(dump: Path) -> list[bytes]:
    return gzip.decompress(dump.read_bytes()).splitlines()


def one_more_line(dump: Path, line: bytes) -> None:
    """A compressed file may have several members."""
    with dump.open("ab") as file:
        file.write(gzip.compress(line + b"\n", mtime=0))


def same_review_again(dump: Path) -> None:
    one_more_line(dump, lines(dump)[0])


def new_review(dump: Path) -> None:
    """Of the busiest user and the most popular item that the user does not have."""
    reviews = [json.loads(line) for line in lines(dump) if GOOD.fullmatch(line)]
    ((user, _),) = Counter(review["user_id"] for review in reviews).most_common(1)
    items = Counter(review["parent_asin"] for review in reviews)
    had = {review["parent_asin"] for review in reviews if review["user_id"] == user}
    item = next(item for item, _ in items.most_common() if item not in had)
    one_more_line(dump, json.dumps({**reviews[0], "user_id": user, "parent_asin": item}).encode())


def recompressed(dump: Path) -> None:
    dump.write_bytes(gzip.compress(b"\n".join(lines(dump)) + b"\n", 1))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (same_review_again, {"ingest", "report"}),
        (new_review, {"ingest", *SPLIT}),
        (recompressed, {"ingest"}),
    ],
)
def test_the_dump(
    made: Pipeline, config: PipelineConfig, change: Callable[[Path], None], expected: set[str]
) -> None:
    (dump,) = config.ingest.reviews
    before = dump.read_bytes()
    change(dump)
    try:
        assert must_rerun(made, config) == expected
    finally:
        dump.write_bytes(before)


def test_the_same_bytes_elsewhere(made: Pipeline, config: PipelineConfig, tmp_path: Path) -> None:
    (dump,) = config.ingest.reviews
    moved = shutil.copy(dump, tmp_path / "other-name.gz")
    assert must_rerun(made, changed(config, "ingest.reviews", moved)) == set()
    (tmp_path / "link").symlink_to(dump.parent, target_is_directory=True)
    linked = changed(config, "ingest.reviews", tmp_path / "link" / dump.name)
    linked = changed(linked, "images.folder", tmp_path / "link" / "images")
    assert must_rerun(made, linked) == set()


def test_the_weights_of_the_features(
    made: Pipeline, config: PipelineConfig, tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    config = changed(config, "features.visual.weights", "pretrained")
    config = changed(config, "features.visual.weights_path", file)
    for expected in (VISUAL, {"visual_features"}):  # then other weights, under the same name
        save_file(torchvision.models.resnet18(weights=None).state_dict(), file)
        assert must_rerun(made, config) == {*expected, *GRAPHS}
    assert made.run(config)[0] == set()


def deleted(place: Path, file: Path) -> None:
    file.unlink()


def gone(place: Path, file: Path) -> None:
    shutil.rmtree(place)


def truncated(place: Path, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flipped(place: Path, file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def replaced(place: Path, file: Path) -> None:
    """By another artifact of the same stage, or of another where there is but one."""
    others = [path for path in sorted(place.parent.iterdir()) if path.is_dir() and path != place]
    other = others[0] if others else next(place.parents[1].glob("ingest/*/"))
    shutil.rmtree(place)
    shutil.copytree(other, place)


@pytest.mark.parametrize("damage", [deleted, gone, truncated, flipped, replaced])
@pytest.mark.parametrize("name", sorted(ALL))
def test_a_damaged_artifact(
    made: Pipeline,
    config: PipelineConfig,
    tmp_path: Path,
    name: str,
    damage: Callable[[Path, Path], None],
) -> None:
    """By the plan, which asks the store as runs do; what takes no time is also made again."""
    artifact = made.plan(config)[name].artifact
    assert artifact is not None
    place = made.store.path(artifact)
    shutil.copytree(place, tmp_path / "backup")
    damage(place, place / sorted(artifact.files)[0])
    steps = made.plan(config)
    assert {step.stage for step in steps.values() if step.state == "runs"} == {name}
    assert steps[name].reasons[0].startswith("artifact ")
    if name in ("split", "graphs", "evaluate"):
        assert must_rerun(made, config) == {name}
        assert made.store.verify(artifact, full=True)
    else:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / "backup", place)
    assert all(step.state == "cached" for step in made.plan(config).values())


@pytest.mark.parametrize("content", [b"", b"{}", b'{"key": 1}', None])
def test_a_damaged_record(made: Pipeline, config: PipelineConfig, content: bytes | None) -> None:
    artifact = made.plan(config)["graphs"].artifact
    for path in (made.store.root / "records" / "graphs").iterdir():
        record = read_record(path)
        if record and record.artifact == artifact:
            path.unlink() if content is None else path.write_bytes(content)
    assert must_rerun(made, config) == {"graphs"}


def test_locks_side_cars_and_temporary_files_left_over(
    made: Pipeline, config: PipelineConfig
) -> None:
    left = list((made.store.root / "locks").rglob("*.lock"))
    assert left
    for path in left:
        path.write_text("12345")
    for path in made.store.root.glob("objects/*/*.stat"):
        path.write_text("{")
    (made.store.root / "tmp" / "1-dead").mkdir(parents=True)
    assert must_rerun(made, config) == set()


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that the keys are made from."""

    def forget() -> None:
        for cached in (codes.closure, codes.libraries, codes.digest, codes.source):
            cached.cache_clear()

    shutil.copytree(codes.ROOT, tmp_path / "brmrs", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(codes, "ROOT", tmp_path / "brmrs")
    forget()
    yield tmp_path / "brmrs"
    forget()


def test_comments_docstrings_and_layout(made: Pipeline, config: PipelineConfig, code: Path) -> None:
    for path in code.rglob("*.py"):
        text = path.read_text().replace('"""', '"""In other words: ', 1)
        path.write_text(f"# a comment\n\n{text}\n\n# another\n")
    assert must_rerun(made, config) == set()


ANOTHER_FILE = """

_run = run


def run(context):
    _run(context)
    (context.out / "another").write_text("file")
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ingest", {"ingest"}),  # the others read named files of it
        ("split", {"split"}),
        ("text_features", {"text_features", "train"}),  # then the same bundle
        ("images", {"images", *VISUAL, "report"}),
        ("visual_training", VISUAL),
        ("visual_features", {"visual_features", "train"}),
        ("graphs", {"graphs", "train"}),
        ("train", MODEL),
        ("evaluate", {"evaluate", "report"}),
        ("diagnosis", {"diagnosis", "report"}),
        ("publish", {"publish", "report"}),
        ("report", {"report"}),
    ],
)
def test_a_stage_that_writes_another_file(
    made: Pipeline,
    config: PipelineConfig,
    code: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    expected: set[str],
) -> None:
    """The changed module runs, so what follows sees what it wrote."""
    module = BY_NAME[name].module
    path = code.joinpath(*module.split(".")[1:]).with_suffix(".py")
    with path.open("a") as file:
        file.write(ANOTHER_FILE)
    spec = spec_from_file_location(module, path)
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, module, changed_module := module_from_spec(spec))
    spec.loader.exec_module(changed_module)
    assert must_rerun(made, config) == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("ingest/kcore.py", {"ingest"}),
        ("config/template.py", {"text_features"}),
        ("images/decode.py", {"images", *VISUAL, "report"}),
        ("graphs/similarity.py", {"graphs"}),
        ("training/trainer.py", {"train"}),
        ("models/br_mrs.py", {"train"}),
        ("models/bm3.py", set()),
        ("evaluation/ranking.py", {"train", "evaluate", "diagnosis", "publish"}),
        ("report/page.html.j2", {"report"}),
        ("errors.py", set()),
    ],
)
def test_a_module(
    made: Pipeline, config: PipelineConfig, code: Path, module: str, expected: set[str]
) -> None:
    """By the plan; what the stages read is unchanged, so all that wait would be spared."""
    text = "EXTRA = 1\n" if module.endswith(".py") else "<!-- -->"
    with (code / module).open("a") as file:
        file.write(text)
    steps = made.plan(config)
    assert {step.stage for step in steps.values() if step.state == "runs"} == expected
