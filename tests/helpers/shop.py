"""A small shop as its owner would export it: orders.csv, products.csv and pictures/, with faults.

Customers prefer one of a few kinds of products. Titles, texts and pictures show the kind.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = {"mug": (190, 40, 40), "lamp": (230, 200, 60), "rug": (60, 90, 170), "vase": (70, 150, 90)}
ADJECTIVES = ("plain", "striped", "tall", "small", "heavy", "light", "old", "bright")
PRODUCTS = ("sku", "product_name", "category", "price", "description", "image")
ORDERS = ("order_no", "customer_id", "sku", "quantity", "ordered_at")
BAD_ORDERS = (
    "9001,,SKU-001,1,2024-03-01T10:00:00Z",  # no customer
    "9002,00017,,1,2024-03-01T10:00:00Z",  # no product
    "9003,00017,SKU-001,1,yesterday",
    "9004,00017,SKU-001",
    '9005,"00017,SKU-001,1,2024-03-01T10:00:00Z',  # a quote that is not closed
)


def write_shop(folder: Path, customers: int = 60, products: int = 32, seed: int = 0) -> Path:
    """Write the shop; the same arguments give the same bytes.

    Customer ids have leading zeros, product ids have letters. Every fifth product has no picture,
    every seventh no description. `BAD_ORDERS` are among the orders.
    """
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    kinds = [list(KINDS)[product % len(KINDS)] for product in range(products)]
    skus = [f"SKU-{product:03d}" for product in range(products)]
    rows = []
    for product, (sku, kind) in enumerate(zip(skus, kinds, strict=True)):
        adjective = ADJECTIVES[int(rng.integers(len(ADJECTIVES)))]
        picture = "" if product % 5 == 4 else f"pictures/{kind}-{product}.png"
        if picture:
            noise = rng.integers(-20, 20, size=(32, 32, 3))
            pixels = np.clip(np.array(KINDS[kind]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / picture)
        text = "" if product % 7 == 6 else f'A {adjective} {kind}, 5" high, made for the home'
        rows.append(
            (sku, f"{adjective.title()} {kind}", "Home > Décor", f"{product}.99", text, picture)
        )
    _write(folder / "products.csv", PRODUCTS, rows)
    orders: list[tuple[object, ...]] = []
    for customer in range(customers):
        liked = [p for p in range(products) if p % len(KINDS) == customer % len(KINDS)]
        others = [p for p in range(products) if p not in liked]
        bought = [*rng.permutation(liked)[:6], *rng.permutation(others)[:2]]
        for step, product in enumerate(bought):
            day = 1 + (customer + 3 * step) % 28
            time = f"2024-{1 + step:02d}-{day:02d}T10:00:00Z"
            orders.append((len(orders), f"{customer:05d}", skus[product], 1 + step % 2, time))
    path = _write(folder / "orders.csv", ORDERS, orders)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[10:10] = BAD_ORDERS[:4]
    path.write_text("\n".join([*lines, BAD_ORDERS[4]]) + "\n", encoding="utf-8")
    return folder


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8")
    return path
