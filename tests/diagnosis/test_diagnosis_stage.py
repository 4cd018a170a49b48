from pathlib import Path

import pyarrow.parquet as pq
import pytest
from board_artifacts import config, content, context, write_inputs

from brmrs.columns import STRATA
from brmrs.config.learning import DiagnosisConfig
from brmrs.diagnosis import schemas
from brmrs.diagnosis.stage import run
from brmrs.stages import StageContext
from brmrs.system.files import read_json
from brmrs.training.stage import run as train

TABLES = {
    schemas.PAIRS_FILE: schemas.PAIRS,
    schemas.SETS_FILE: schemas.SET_SHARES,
    schemas.MARGINS_FILE: schemas.MARGINS,
    schemas.SAMPLERS_FILE: schemas.SAMPLER_MARGINS,
    schemas.INFORMATION_FILE: schemas.INFORMATION,
    schemas.TYPES_FILE: STRATA,
}


def diagnosed(folder: Path, model: str) -> StageContext:
    """The board, a model of one epoch, and its diagnosis."""
    inputs = write_inputs(folder)
    trained = context(inputs, folder / "train", config(model, epochs=1, learning_rate=1e-4))
    train(trained)
    settings = config().model_copy(update={"diagnosis": DiagnosisConfig(k=3, top_share=0.2)})
    stage = context({**inputs, "train": trained.out}, folder / "diagnosis", settings)
    run(stage)
    return stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> StageContext:
    return diagnosed(tmp_path_factory.mktemp("board"), "br-mrs")


def test_every_table_has_its_schema(stage: StageContext) -> None:
    assert {path.name for path in stage.out.iterdir()} == {*TABLES, schemas.DIAGNOSIS_FILE}
    for file, schema in TABLES.items():
        assert pq.read_table(stage.out / file).schema == schema


def test_the_headline_follows_from_the_pairs(stage: StageContext) -> None:
    found = read_json(stage.out / schemas.DIAGNOSIS_FILE)
    pairs = pq.read_table(stage.out / schemas.PAIRS_FILE).to_pylist()
    assert found["pairs"] == len(pairs) == found["users"]  # one test item each
    assert found["cannot"] == ""
    for name in schemas.SETS:
        share = sum(row["set"] == name for row in pairs) / len(pairs)
        assert found["sets"][name]["value"] == pytest.approx(share)
    for branch in schemas.BRANCHES:
        share = sum(row[f"{branch}_rank"] <= found["k"] for row in pairs) / len(pairs)
        assert found["recall"][branch]["value"] == pytest.approx(share)
    above, confused = (sum(row[name] for row in pairs) for name in ("above", "confused_by_score"))
    by_score = found["confusion"]["by_score"]["above"]
    assert by_score["negatives"] == above
    assert by_score["value"] == pytest.approx(confused / above)
    compared, confused = (
        sum(row[name] for row in pairs) for name in ("compared", "confused_by_cosine")
    )
    by_cosine = found["confusion"]["by_cosine"]["above"]
    assert (by_cosine["negatives"], by_cosine["value"]) == (
        compared,
        pytest.approx(confused / compared),
    )


def test_every_interval_holds_its_value(stage: StageContext) -> None:
    for file in (schemas.SETS_FILE, schemas.SAMPLERS_FILE, schemas.INFORMATION_FILE):
        rows = pq.read_table(stage.out / file).to_pylist()
        assert rows
        for row in rows:
            assert row["low"] - 0.1 <= row["value"] <= row["high"] + 0.1, row


def test_the_parts_of_the_information_add_up(stage: StageContext) -> None:
    found = read_json(stage.out / schemas.DIAGNOSIS_FILE)["information"]
    total = sum(part["value"] for part in found["parts"].values())
    assert total == pytest.approx(found["known"]["all"]["value"])
    # With the fusion `concat` the fused score is the sum of both.
    assert found["parts"][schemas.BEYOND_SUM]["value"] == pytest.approx(0, abs=0.01)


def test_two_runs_give_the_same_bytes(stage: StageContext, tmp_path: Path) -> None:
    again = context(dict(stage.inputs), tmp_path, stage.config)
    run(again)
    assert content(stage.out) == content(again.out)


def test_a_model_of_interactions_gets_one_line(tmp_path: Path) -> None:
    stage = diagnosed(tmp_path, "bpr-mf")
    found = read_json(stage.out / schemas.DIAGNOSIS_FILE)
    assert found["cannot"].startswith("model bpr-mf has no text and no visual branch")
    assert set(found["recall"]) == {"fused"}
    assert "sets" not in found
    assert {path.name for path in stage.out.iterdir()} == {
        schemas.DIAGNOSIS_FILE,
        schemas.TYPES_FILE,
    }
