"""`brmrs init`: what it takes, guesses and ignores, and that its file runs."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from benchmark_layout import write_layout
from shop import write_shop
from typer.testing import CliRunner
from whole_pipeline import changed

from brmrs.config.load import load
from brmrs.errors import UserError
from brmrs.ingest.stage import ingest
from brmrs.propose.inspect import inspect
from brmrs.propose.write import propose
from flows.cli.app import app


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody may change it."""
    return write_shop(tmp_path_factory.mktemp("made") / "shop")


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "my shop"))


def test_the_shop_is_configured_and_can_be_read(shop: Path) -> None:
    found = propose(shop)
    config = load(shop / "brmrs.yaml")
    assert config.name == "my-shop"
    assert config.ingest.interactions == (shop / "orders.csv",)
    assert config.ingest.items == (shop / "products.csv",)
    columns = config.ingest.columns
    assert (columns.user, columns.item, columns.item_id) == ("customer_id", "sku", "sku")
    assert (columns.title, columns.pictures) == ("product_name", ("image",))
    assert config.images.folder == shop / "pictures"
    assert config.split.protocol == "leave-last-out"
    assert config.ingest.max_bad_share == 0.02
    read = ingest(config.ingest)
    assert read.statistics["interactions"] > 300
    assert found["facts"]["interactions"] == 480
    assert found["chosen"]["ingest.max_bad_share"].startswith("1.0% of the lines cannot be used")


def test_the_same_folder_gives_the_same_file(shop: Path) -> None:
    texts = []
    for _ in range(2):
        propose(shop)
        texts.append((shop / "brmrs.yaml").read_bytes())
        (shop / "brmrs.yaml").unlink()
    assert texts[0] == texts[1]


def test_a_configuration_is_never_overwritten(shop: Path) -> None:
    (shop / "brmrs.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"brmrs\.yaml: exists and is never overwritten"):
        propose(shop)
    assert (shop / "brmrs.yaml").read_text() == "mine"


def test_what_is_not_used_is_named_with_the_reason(shop: Path) -> None:
    (shop / "notes.csv").write_text("when,what\nmonday,nothing\n")
    (shop / "readme.md").write_text("hello")
    (shop / "empty.csv").write_text("")
    (shop / "returns.csv").write_text("customer_id,sku\n00001,SKU-001\n")
    np.save(shop / "clip.npy", np.zeros((3, 2)))
    found = propose(shop)["ignored"]
    assert found["notes.csv"] == "columns without a known role: when, what"
    assert found["readme.md"] == "no table, picture or array"
    assert found["empty.csv"] == "the file is empty"
    assert (
        found["returns.csv"] == "interactions with other columns than orders.csv, the largest table"
    )
    assert found["clip.npy"] == "no file of ids; name it clip_ids.txt, an id a line"
    text = (shop / "brmrs.yaml").read_text(encoding="utf-8")
    assert all(f"#   {name}: " in text for name in found)
    assert "#   orders.csv: columns order_no, quantity" in text


def test_pictures_are_counted_by_the_items_that_have_one(shop: Path) -> None:
    (shop / "pictures" / "nobody.png").write_bytes(b"a file of no item")
    named = {
        row["sku"]
        for row in pl.read_csv(shop / "products.csv").iter_rows(named=True)
        if row["image"]
    }
    found = propose(shop)
    reason = f"{len(named) + 1} pictures, for {len(named)} of 32 items"
    assert found["chosen"]["images.folder"] == reason
    (shop / "pictures" / "rug-2.png").unlink()
    assert inspect([shop])["items_with"]["picture"] == len(named) - 1


def test_columns_of_words_that_are_not_read_are_suggested(shop: Path) -> None:
    frame = pl.read_csv(shop / "products.csv")
    colours = ["navy blue", "red", None, "grün"] * (len(frame) // 4)
    codes = [f"C{row % 3}" for row in range(len(frame))]
    unique = [f"word {'x' * row}" for row in range(len(frame))]
    more: dict[str, Any] = {"colour": colours, "code": codes, "slug": unique}
    frame.with_columns(pl.Series(name, values) for name, values in more.items()).write_csv(
        shop / "products.csv"
    )
    assert propose(shop)["suggested"] == {"products.csv": ["colour"]}
    text = (shop / "brmrs.yaml").read_text(encoding="utf-8")
    assert "# Columns of words in products.csv: colour." in text
    found = inspect([shop / "products.csv", shop / "orders.csv"])
    assert "colour" in found["metadata"]["not_read"]["products.csv"]


def test_every_column_that_is_not_read_is_printed(shop: Path) -> None:
    frame = pl.read_csv(shop / "products.csv")
    colours = [f"shade of {'x' * row}" for row in range(len(frame))]  # too many to be suggested
    frame.with_columns(pl.Series("colour", colours)).write_csv(shop / "products.csv")
    assert propose(shop)["not_read"] == {
        "orders.csv": ["order_no", "quantity"],
        "products.csv": ["price", "colour"],
    }
    (shop / "brmrs.yaml").unlink()
    shown = CliRunner().invoke(app, ["init", str(shop)]).output.splitlines()
    (line,) = (line for line in shown if line.startswith("  products.csv: "))
    assert line.endswith("; not read: price, colour")
    assert "words" not in line


def test_names_of_pictures_without_a_file_are_counted(shop: Path) -> None:
    shutil.rmtree(shop / "pictures")
    (shop / "pictures").mkdir()
    found = propose(shop)
    reason = found["chosen"]["images.fetch"]
    start = f"26 items name pictures in the column image, such as pictures/mug-0.png; {shop} has no"
    assert reason.startswith(start), reason
    assert "set images.folder" in reason
    note = inspect([shop])["notes"][-1]
    start = f"26 items name pictures, such as pictures/mug-0.png; {shop} has no picture files"
    assert note.startswith(start)


def test_addresses_beside_names_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text("user,item\nu,a\nu,b\nv,a\n")
    (tmp_path / "things.csv").write_text("item_id,image\na,http://x.org/a.jpg\nb,b.jpg\n")
    chosen = propose(tmp_path)["chosen"]
    assert chosen["images.fetch"] == (
        "1 items have addresses of pictures; the run downloads them; 1 items name pictures in the "
        f"column image, such as b.jpg; {tmp_path} has no picture files: put them there and set "
        "images.folder"
    )


def test_own_vectors_are_taken(shop: Path) -> None:
    skus = pl.read_csv(shop / "products.csv")["sku"].to_list()
    np.save(shop / "image_vectors.npy", np.ones((len(skus), 3), dtype=np.float32))
    (shop / "image_vectors_ids.txt").write_text("".join(f"{sku}\n" for sku in skus))
    frame = pl.DataFrame({"sku": skus, "embedding": [[1.0, 2.0]] * len(skus)})
    frame.write_parquet(shop / "text_bert.parquet")
    propose(shop)
    config = load(shop / "brmrs.yaml")
    assert config.features.visual.backbone == config.features.text.model == "imported"
    found = ingest(config.ingest)
    assert found.given is not None
    assert {name: rows.shape[1] for name, rows in found.given.features.items()} == {
        "visual": 3,
        "text": 2,
    }


def test_a_small_table_gets_a_smaller_core(tmp_path: Path) -> None:
    rows = [f"u{n % 7},i{n % 5}" for n in range(20)]
    (tmp_path / "clicks.csv").write_text("\n".join(["user,item", *rows]) + "\n")
    found = propose(tmp_path)
    assert found["chosen"]["ingest.k"].startswith("the 5-core would keep 0 of 20")
    assert found["chosen"]["model"] == "the data have neither texts nor pictures"
    config = load(tmp_path / "brmrs.yaml")
    assert (config.ingest.k, config.model.name) == (3, "lightgcn")


def test_what_the_default_core_leaves_out_is_counted(tmp_path: Path) -> None:
    rows = [f"u{user},i{item}" for user in range(6) for item in range(6)]
    rows += ["u0,rare", "seldom,i0", "seldom,i1"]
    (tmp_path / "clicks.csv").write_text("\n".join(["user,item", *rows]) + "\n")
    counts = "the 5-core leaves out 3 of 39 interactions, 1 of 7 users, 1 of 7 items"
    assert propose(tmp_path)["chosen"]["ingest.k"] == counts
    assert f"k: 5 # {counts}" in (tmp_path / "brmrs.yaml").read_text()


def test_several_tables_of_items(shop: Path) -> None:
    (shop / "stories.csv").write_text(f"product_no,story\nSKU-001,{'a tale ' * 20}\n")
    propose(shop)
    read = ingest(load(shop / "brmrs.yaml").ingest)
    assert read.items[1].title == "Tall lamp"
    assert read.items[1].description.startswith("a tale a tale")  # the longer one


def test_a_ready_made_data_set(tmp_path: Path) -> None:
    propose(write_layout(tmp_path / "tiny"))
    config = load(tmp_path / "tiny" / "brmrs.yaml")
    assert (config.ingest.format, config.split.protocol) == ("ready-made", "given")


def test_an_amazon_dump(small_sample: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_sample, tmp_path / "dump"))
    found = propose(folder)
    assert found["format"] == "amazon"
    config = load(folder / "brmrs.yaml")
    assert config.ingest.metadata == (folder / "meta.jsonl.gz",)
    assert config.images.folder == folder / "images"
    assert "config.yaml" in found["ignored"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no file with interactions: a table needs a column of users and one of items"),
        (
            {"a.csv": "who,what\n1,2\n"},
            r"with interactions.*\(a\.csv: columns without a known role: who, what\); rename",
        ),
        (
            {"a.csv": "who,sku\n1,2\n"},
            r"\(a\.csv: no column looks like the user; its columns are who, sku; set ingest",
        ),
        (
            {"meta.jsonl": '{"parent_asin": "i", "title": "T"}\n'},
            r"\(meta\.jsonl: metadata of items, without interactions\); rename",
        ),
        ({"a.csv": "user,item\n" + ",i\n" * 50 + "u,i\n"}, "50 of 51 lines cannot be used"),
    ],
)
def test_a_folder_without_usable_data(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        propose(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "brmrs.yaml").exists()


def test_names_that_would_break_the_file(tmp_path: Path) -> None:
    (tmp_path / "a: #b, 'c' [d].csv").write_text('user,item,"x: # {y}"\nu,i,1\n')
    propose(tmp_path)
    values = yaml.safe_load((tmp_path / "brmrs.yaml").read_text(encoding="utf-8"))
    assert values["ingest"]["interactions"] == "a: #b, 'c' [d].csv"


def test_the_command_prints_what_it_did(shop: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(shop)])
    assert done.exit_code == 0, done.output
    assert "orders.csv: user = customer_id (guessed)" in done.output
    assert "next: brmrs run -c" in done.output
    (shop / "brmrs.yaml").unlink()
    done = CliRunner().invoke(app, ["init", str(shop), "--json"])
    assert json.loads(done.output)["files"] == {
        "interactions": ["orders.csv"],
        "items": ["products.csv"],
    }


@pytest.mark.slow
def test_from_the_shop_to_recommendations(shop: Path, tmp_path: Path) -> None:
    """All stages, with random weights for the pictures; customers are shown what they like."""
    from whole_pipeline import Pipeline

    from brmrs.models import bundle
    from brmrs.store.artifacts import ArtifactStore

    propose(shop)
    config = load(shop / "brmrs.yaml")
    config = changed(config, "features.visual", {"backbone": "resnet18", "weights": "random"})
    config = changed(config, "train.epochs", 20)
    store = ArtifactStore(tmp_path / "artifacts")
    artifacts = Pipeline(store).run(config)[1]
    images = pl.read_parquet(store.path(artifacts["images"]) / "images.parquet")
    assert images["status"].value_counts().sort("count")["count"].to_list()[-1] == 26
    published = pl.read_parquet(store.path(artifacts["publish"]) / "recommendations.parquet")
    model = bundle.load(store.path(artifacts["train"]))
    assert published["user_id"].n_unique() == len(model.about.users)
    first = published.filter(pl.col("rank") == 1)
    kinds = [int(sku.removeprefix("SKU-")) % 4 for sku in first["asin"]]
    liked = [int(user) % 4 for user in first["user_id"]]
    assert sum(a == b for a, b in zip(kinds, liked, strict=True)) > 0.5 * len(kinds)


def test_the_configurations_of_the_page_are_valid(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "own-data.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        (tmp_path / "page.yaml").write_text(block, encoding="utf-8")
        assert load(tmp_path / "page.yaml").ingest.format == "table"
