"""`brmrs diagnose` on runs of the checkerboard, whose first stages are made up."""

import dataclasses
import io
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from board_artifacts import config, write_inputs

from brmrs.columns import MODALITIES
from brmrs.config.learning import DiagnosisConfig
from brmrs.diagnosis import result
from brmrs.diagnosis.schemas import DIAGNOSIS_FILE, PAIRS, PAIRS_FILE, SETS
from brmrs.diagnosis.transitions import transitions
from brmrs.errors import UserError
from brmrs.experiments import diagnose_run
from brmrs.report.previous import previous
from brmrs.stages import needed
from brmrs.store import runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record
from brmrs.store.runs import Run
from brmrs.system.files import read_json, write_json
from flows.cli import tables_diagnose
from flows.cli.console import SafeConsole

GIVEN = ("ingest", "split", "text_features", "visual_features", "graphs")
EXECUTED = ("train", "evaluate")


def run_of(store: ArtifactStore, board: Path, name: str, model: str, **train: object) -> Run:
    """A run until `evaluate`; what comes before `train` is the board's."""
    settings = config(model, epochs=2, **train).model_copy(
        update={"diagnosis": DiagnosisConfig(k=3, top_share=0.2)}
    )
    prints = fingerprint(settings, ("warm_start",))
    records: dict[str, Record] = {}
    for stage in needed(settings, "evaluate"):
        if stage.name in EXECUTED:
            upstream = {each: records[each].artifact for each in stage.upstream}
            records[stage.name] = execute(stage, settings, prints, upstream, store, name)
            continue
        with store.writing(stage.name) as out:
            if stage.name in GIVEN:
                shutil.copytree(board / stage.name, out, dirs_exist_ok=True)
            else:
                (out / "nothing").touch()
            artifact = store.commit(out, stage.name)
        records[stage.name] = Record("0" * 64, {}, artifact, name, 1.0)
    made = Run(name, settings.model_dump(mode="json"), prints, records, 1.0, {"cpus": 1})
    runs.save(made, store)
    return made


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, dict[str, Run]]:
    folder = tmp_path_factory.mktemp("diagnosed")
    (folder / "board").mkdir()
    write_inputs(folder / "board")
    store = ArtifactStore(folder / "artifacts")
    made = {
        name: run_of(store, folder / "board", f"20260101-00000{number}-000-aaaa", model, **train)
        for number, (name, model, train) in enumerate(
            [
                ("early", "br-mrs", {"learning_rate": 1e-4}),
                ("late", "br-mrs", {"learning_rate": 0.05}),
                ("plain", "bpr-mf", {}),
            ]
        )
    }
    return store, made


Board = tuple[ArtifactStore, dict[str, Run]]


def text_of(found: diagnose_run.Diagnosed, width: int = 80, **more: object) -> str:
    console = SafeConsole(file=io.StringIO(), width=width)
    values = {"run": found.run.name, **found.values, "types": found.types(), **more}
    tables_diagnose.diagnosis(console, values, found.sets())
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_run_without_a_diagnosis_gets_one_and_keeps_it(board: Board) -> None:
    store, made = board
    found = diagnose_run.diagnosed(made["early"], store)
    assert "diagnosis" not in made["early"].stages
    assert found.values["pairs"] == len(found.pairs())
    again = diagnose_run.diagnosed(made["early"], store)
    assert again.folder == found.folder
    (record,) = store.records("diagnosis")
    assert record.run == made["early"].name


def test_the_tables_fit_80_columns(board: Board) -> None:
    store, made = board
    text = text_of(diagnose_run.diagnosed(made["early"], store))
    for word in (*SETS, "by_cosine", "neither_separates", "hardest_by_text", "both_beyond_sum"):
        assert word in text
    assert "too narrow" not in text


def explained(text: str) -> list[tuple[str, str]]:
    """Each name that a line explains, with the title and the table that it is below."""
    found = []
    for block in text.split("\n\n")[1:]:
        lines = block.splitlines()
        notes = [each for each in lines[1:] if ": " in each]
        table = " ".join(" ".join(lines[: lines.index(notes[0])]).split()) if notes else ""
        for part in "; ".join(notes).split("; "):
            names = part.partition(": ")[0] if ": " in part else ""
            found += [(name, table) for name in names.split(", ") if name]
    return found


def test_words_are_explained_below_the_table_that_shows_them(board: Board) -> None:
    store, made = board
    found = diagnose_run.diagnosed(made["early"], store)
    rows = diagnose_run.moved(found, found)
    text = text_of(found, transitions=rows, against=made["late"].name)
    names = explained(text)
    assert len(names) > 20
    assert [name for name, table in names if name not in table] == []
    assert {*SETS, "by_score", "by_cosine", "either", "false negatives"} <= {x for x, _ in names}
    assert "in its top 20 %" in text
    assert not re.search(r"top_share|not_separated|quadrants|confusion\.", text)
    prose = re.split(r"[.;]\s|\n", text + diagnose_run.RETRAINED)
    assert [each for each in prose if ": " in each and len(each.split()) >= 25] == []
    assert all(len(each) <= 90 for each in text.splitlines())


def test_a_table_that_was_not_measured_is_not_explained(board: Board) -> None:
    store, made = board
    found = diagnose_run.diagnosed(made["early"], store)
    confusion = {**found.values["confusion"], "by_cosine": None}
    text = text_of(found, confusion=confusion, information=None)
    assert "by_cosine: not measured without the features of both modalities" in text
    assert "in its top" not in text
    assert "certainty" not in text


def test_a_model_without_branches_says_so(board: Board) -> None:
    store, made = board
    found = diagnose_run.diagnosed(made["plain"], store)
    assert "model bpr-mf has no text and no visual branch" in text_of(found)
    with pytest.raises(UserError, match="no text and no visual branch"):
        found.pairs()


def test_the_transitions_between_two_runs(board: Board) -> None:
    store, made = board
    old, new = (diagnose_run.diagnosed(made[name], store) for name in ("early", "late"))
    rows = diagnose_run.moved(old, new)
    assert sum(row["pairs"] for row in rows) == old.values["pairs"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    for end, found in (("from", old), ("to", new)):
        sets = found.pairs()["set"].to_pylist()
        for name in SETS:
            assert sum(row["pairs"] for row in rows if row[end] == name) == sets.count(name)
    text = text_of(new, transitions=rows, against=old.run.name)
    assert f"pairs since run {old.run.name}" in text
    stayed = diagnose_run.moved(new, new)
    assert all(row["pairs"] == 0 for row in stayed if row["from"] != row["to"])


def test_other_pairs_have_no_transitions(board: Board) -> None:
    store, made = board
    pairs = diagnose_run.diagnosed(made["early"], store).pairs()
    with pytest.raises(UserError, match="other test pairs"):
        transitions(pairs, pairs.slice(1))


def test_each_modality_is_replaced_and_trained_again(board: Board) -> None:
    store, made = board
    found = diagnose_run.retrained(made["early"], store)
    assert [(row["modality"], row["replaced"]) for row in found["rows"]] == [
        (modality, how) for modality in MODALITIES for how in diagnose_run.REPLACEMENTS
    ]
    values = found["reference"]["values"]
    for row in found["rows"]:
        for metric in found["metrics"]:
            against = row["against_first"][metric]
            assert against["difference"] == pytest.approx(
                row["values"][metric] - values[metric], abs=1e-9
            )
        run = runs.find(store, row["run"])
        about = read_json(store.path(run.artifact("train")) / "bundle.json")["features"]
        label = about[row["modality"]]["label"]
        assert label.rpartition(", ")[2].startswith(row["replaced"].removesuffix("noise"))
        assert about[row["modality"]]["used"] == (row["replaced"] != "removed")
        # Text and pictures are not embedded again.
        assert run.stages["text_features"] == made["early"].stages["text_features"]
    newest = next(runs.all_runs(store))
    assert newest.kind == runs.DIAGNOSIS
    assert runs.find(store, "latest").kind == runs.latest(store, "evaluate").kind == "run"
    later = dataclasses.replace(made["early"], name=runs.new_name(store))
    before = previous(later, store)
    assert before is not None
    assert before.kind == "run"
    text = text_of(diagnose_run.diagnosed(made["early"], store), retrained=found)
    assert "visual permuted" in text
    assert "too narrow" not in text


def test_a_model_of_interactions_has_nothing_to_replace(board: Board) -> None:
    store, made = board
    with pytest.raises(UserError, match="reads no features"):
        diagnose_run.retrained(made["plain"], store)


def test_a_run_with_replaced_features_is_no_reference(board: Board) -> None:
    store, made = board
    values = {**made["early"].config}
    values["features"] = {**values["features"], "replace": {"text": "permuted"}}
    replaced = dataclasses.replace(made["early"], config=values)
    with pytest.raises(UserError, match="trained with features"):
        diagnose_run.retrained(replaced, store)


def diagnosed_copy(board: Board, folder: Path) -> diagnose_run.Diagnosed:
    store, made = board
    found = diagnose_run.diagnosed(made["early"], store)
    shutil.copytree(found.folder, folder, dirs_exist_ok=True)
    return diagnose_run.Diagnosed(found.run, folder, found.values)


@pytest.mark.parametrize(
    "change",
    [
        {"sets": {}},
        {"sets": {"none": {"value": "many", "low": 0, "high": 1}}},
        {"samplers": None},
        {"quadrants": {"above": {}}},
        {"k": -1},
        {"cannot": 7},
        {"confusion": {"by_score": []}},
        {"information": {"parts": {}}},
    ],
)
def test_a_damaged_headline_is_one_line(
    board: Board, tmp_path: Path, change: dict[str, object]
) -> None:
    copy = diagnosed_copy(board, tmp_path)
    write_json(tmp_path / DIAGNOSIS_FILE, {**read_json(tmp_path / DIAGNOSIS_FILE), **change})
    with pytest.raises(UserError, match="no diagnosis of a run") as caught:
        result.read(copy.folder)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_tables_are_one_line(board: Board, tmp_path: Path) -> None:
    copy = diagnosed_copy(board, tmp_path)
    pairs = pq.read_table(tmp_path / PAIRS_FILE)
    other = pairs.set_column(2, "set", [["only_smell"] * len(pairs)]).cast(PAIRS)
    pq.write_table(other, tmp_path / PAIRS_FILE)
    with pytest.raises(UserError, match="only_smell"):
        transitions(pairs, copy.pairs())
    (tmp_path / PAIRS_FILE).write_bytes(b"no table")
    with pytest.raises(UserError, match="no table of a run"):
        copy.pairs()
    (tmp_path / DIAGNOSIS_FILE).unlink()
    with pytest.raises(UserError, match="no diagnosis of a run"):
        result.read(tmp_path)
