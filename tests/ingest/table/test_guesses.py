"""Which columns are guessed, by the headers of well-known data sets and shops."""

from pathlib import Path

import pytest

from brmrs.config.tables import ColumnsConfig
from brmrs.errors import UserError
from brmrs.ingest.table import names
from brmrs.ingest.table.head import Head, read_head


def head_of(folder: Path, header: str, values: str = "") -> Head:
    path = folder / "t.csv"
    separator = ";" if ";" in header else ","
    row = values or separator.join("1" for _ in header.split(separator))
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    return read_head(path)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("userId,movieId,rating,timestamp", "userId movieId rating timestamp"),
        ("User-ID;ISBN;Book-Rating", "User-ID ISBN Book-Rating -"),
        ("userID,artistID,weight", "userID artistID - -"),
        ("uid,iid,rating,ts", "uid iid rating ts"),
        ("reviewerID,asin,overall,unixReviewTime", "reviewerID asin overall unixReviewTime"),
        ("visitorid,itemid,event,timestamp,transactionid", "visitorid itemid - timestamp"),
        ("order_id,product_id,add_to_cart_order,user_id", "user_id product_id - -"),
        ("event_time,product_id,category_id,brand,user_id", "user_id product_id - event_time"),
        (
            "InvoiceNo,StockCode,Quantity,InvoiceDate,CustomerID",
            "CustomerID StockCode - InvoiceDate",
        ),
        ("Kundennummer;Artikelnummer;Bestelldatum", "Kundennummer Artikelnummer - Bestelldatum"),
        ("user,user_name,item,item_name,rating_count", "user item - -"),
    ],
)
def test_interactions(tmp_path: Path, header: str, expected: str) -> None:
    named = names.interactions(head_of(tmp_path, header), ColumnsConfig())
    found = [named.one(role) or "-" for role in ("user", "item", "rating", "time")]
    assert found == expected.split()


def test_items_of_a_fashion_shop(tmp_path: Path) -> None:
    header = "id,gender,masterCategory,subCategory,baseColour,productDisplayName,image_url,image_id"
    named = names.items(head_of(tmp_path, header), ColumnsConfig())
    assert named.columns == {
        "item_id": ("id",),
        "title": ("productDisplayName",),
        "categories": ("masterCategory", "subCategory"),
        "pictures": ("image_url",),
    }
    assert named.ignored == ("gender", "baseColour", "image_id")


def test_names_of_categories_win_over_their_numbers(tmp_path: Path) -> None:
    header = "article_id,prod_name,department_no,department_name,detail_desc"
    named = names.items(head_of(tmp_path, header), ColumnsConfig())
    assert named.columns["categories"] == ("department_name",)
    assert (named.one("title"), named.one("text")) == ("prod_name", "detail_desc")


def test_a_column_of_sentences_counts_as_text(tmp_path: Path) -> None:
    head = head_of(tmp_path, "sku,story,code", "1,a tale of many words,A-1")
    assert names.items(head, ColumnsConfig()).columns["text"] == ("story",)


def test_a_configured_column_is_not_guessed_for_another_role(tmp_path: Path) -> None:
    head = head_of(tmp_path, "user,item,date,time")
    named = names.interactions(head, ColumnsConfig(time="date"))
    assert named.one("time") == "date"
    assert named.guessed == ("user", "item")


def test_the_column_of_the_interactions_names_the_items_too(tmp_path: Path) -> None:
    head = head_of(tmp_path, "id,model,title")
    named = names.items(head, ColumnsConfig(item="model"))
    assert named.one("item_id") == "model"


@pytest.mark.parametrize("header", ["a,b,c", "user,when", "1,2,3"])
def test_without_a_column_that_fits_the_error_lists_the_columns(
    tmp_path: Path, header: str
) -> None:
    with pytest.raises(UserError, match=f"its columns are {', '.join(header.split(','))}"):
        names.interactions(head_of(tmp_path, header), ColumnsConfig())
