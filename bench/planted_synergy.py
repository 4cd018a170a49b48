"""Which models rank planted synergy: Recall by the type of the positive, on sample dumps.

    python bench/planted_synergy.py train FOLDER     # about two hours on one thread; resumes
    python bench/planted_synergy.py table FOLDER     # the tables of docs/planted-synergy.md

`--set` gives settings of the stages, such as features.visual.backbone=efficientnet-lite0.

The dumps have 1,200 items and 900 users with about 7 interactions each. So an item has 5: too few
to learn what it is from interactions alone. The default sample has 21 an item, and every model
learns it there without features. Each user's last interaction tests, the one before validates.

`train` appends one line to `FOLDER/runs.jsonl` per strength, variant and seed, and skips those that
are there, so several processes may work on one folder with `--share 0/2` and `--share 1/2`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

import flows  # noqa: F401 - sets how threads wait, before torch is loaded
from brmrs.columns import (
    ADDITIVE,
    ASIN,
    FUSED,
    NO_PART,
    PARTS,
    REDUNDANT,
    SPLIT_NAMES,
    SYNERGY,
    TEST,
    TEXT,
    TEXT_SIGNS,
    TEXT_UNIQUE,
    TYPE,
    USER_ID,
    VALIDATION,
    VISUAL,
    VISUAL_SIGNS,
    VISUAL_UNIQUE,
)
from brmrs.config.learning import TrainConfig
from brmrs.config.load import load
from brmrs.config.models import configure
from brmrs.evaluation.paired import interval
from brmrs.evaluation.ranking import top_k
from brmrs.graphs.user_items import UserItems
from brmrs.models.registry import build
from brmrs.sample.latent import Strengths
from brmrs.sample.write import write_sample
from brmrs.stages import SPLIT, needed
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute, inputs_of
from brmrs.store.fingerprint import fingerprint
from brmrs.store.records import Record
from brmrs.system.files import read_json
from brmrs.training.stage import Prepared, prepare
from brmrs.training.trainer import fit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TYPES = (*PARTS, NO_PART)
STRENGTHS = (0.5, 1.0, 2.0)  # of the synergy; all other parts have 1
SEEDS = range(5)
USERS, ITEMS, K = 900, 1200, 20
RUNS = "runs.jsonl"
REFERENCE = "concat"
IDS = {"dim": 32}  # the default of BR-MRS: items have free embeddings
OURS = {**IDS, "id_embeddings": False}
JOINT = {**OURS, "fusion": "joint"}
RESIDUAL = {**OURS, "fusion": "residual"}
LETTER = {  # configs/models/br-mrs-by-the-letter.yaml
    "fusion": "residual", "theta": 0.1, "pool": 16, "detach_reference": False, "chns": 1.0,
    "synergy": 1.0, "bpr": 0.0, "id_embeddings": False, "feature_dim": 100000, "edge_dropout": 0.0,
}  # fmt: skip
LETTER_JOINT = {**IDS, **LETTER, "fusion": "joint"}
ATTRIBUTES, PRODUCTS = "attributes", "products"  # instead of features, see `shown`

# By name: the model, its settings, what it gets as features (None: the vectors of the models).
Variant = tuple[str, dict[str, Any], str | None]
MAIN: dict[str, Variant] = {
    "joint": ("br-mrs", JOINT, None),
    "joint, no synergy loss": ("br-mrs", {**JOINT, "synergy": 0.0}, None),
    "joint, synergy=1": ("br-mrs", {**JOINT, "synergy": 1.0}, None),
    "joint, no CHNS": ("br-mrs", {**JOINT, "chns": 0.0}, None),
    "joint, fused BPR alone": ("br-mrs", {**JOINT, "chns": 0.0, "synergy": 0.0}, None),
    "concat": ("br-mrs", OURS, None),
    "concat, no synergy loss": ("br-mrs", {**OURS, "synergy": 0.0}, None),
    "concat, no CHNS": ("br-mrs", {**OURS, "chns": 0.0}, None),
    "residual": ("br-mrs", RESIDUAL, None),
    "residual, no synergy loss": ("br-mrs", {**RESIDUAL, "synergy": 0.0}, None),
    "bilinear": ("br-mrs", {**OURS, "fusion": "bilinear"}, None),
    "gate": ("br-mrs", {**OURS, "fusion": "gate"}, None),
    "attention": ("br-mrs", {**OURS, "fusion": "attention"}, None),
    "by the letter": ("br-mrs", {**IDS, **LETTER}, None),
    "by the letter, joint": ("br-mrs", LETTER_JOINT, None),
    "by the letter, joint, no synergy loss": ("br-mrs", {**LETTER_JOINT, "synergy": 0.0}, None),
    "default (concat, item ids)": ("br-mrs", IDS, None),
    "default, joint": ("br-mrs", {**IDS, "fusion": "joint"}, None),
    "lightgcn": ("lightgcn", IDS, None),
    "freedom": ("freedom", IDS, None),
    "bm3": ("bm3", IDS, None),
    "concat, attributes": ("br-mrs", OURS, ATTRIBUTES),
    "joint, attributes": ("br-mrs", JOINT, ATTRIBUTES),
    "concat, attributes and products": ("br-mrs", OURS, PRODUCTS),
}
AT_EVERY_STRENGTH = (
    "joint",
    "joint, no synergy loss",
    "joint, synergy=1",
    "concat",
    "residual",
    "lightgcn",
    "freedom",
    "bm3",
)
# Each deviation of the default from the method, undone alone (docs/method.md, section 5).
DEVIATIONS: dict[str, Variant] = {
    f"default, {name}={value}": ("br-mrs", {**IDS, name: value}, None)
    for name, value in (
        ("theta", 0.1),
        ("pool", 16),
        ("detach_reference", False),
        ("bpr", 0.0),
        ("edge_dropout", 0.0),
        ("feature_dim", 100000),
    )
}
VARIANTS = MAIN | DEVIATIONS
TRAINING: dict[str, Any] = {
    "epochs": 100,
    "patience": 10,
    "validate_every": 2,
    "batch_size": 512,
    "learning_rate": 0.01,
    "device": "cpu",
}


class Data(NamedTuple):
    """What one dump gives: the inputs of training, the test items, and by split the types (N,).

    `truth` has the latent vectors of the items, in the order of the dense ids; zeros of others.
    """

    ready: Prepared
    test: UserItems
    types: dict[str, Ints]
    truth: dict[str, Tensor]
    halves: dict[str, Tensor]  # A and B of the additive part


@cache
def data_of(root: Path, strength: float, settings: tuple[str, ...]) -> Data:
    """Write a dump and run the stages before training, each computed once per folder.

    The dumps differ in their interactions only, so pictures and texts are embedded once. The 5-core
    is off, because it would remove most items.
    """
    dump, store = root / f"synergy-{strength:g}", ArtifactStore(root / "store")
    write_sample(dump, users=USERS, items=ITEMS, strengths=Strengths(synergy=strength))
    own = ("ingest.k=0", "split.protocol=leave-last-out")
    config = load(dump / "config.yaml", (*own, *settings))
    records: dict[str, Record] = {}
    *before, last = needed(config, "train")
    for stage in before:
        print(f"synergy {strength:g}: {stage.name}", file=sys.stderr, flush=True)
        upstream = {name: records[name].artifact for name in stage.upstream}
        records[stage.name] = execute(
            stage, config, fingerprint(config), upstream, store, "planted-synergy"
        )
    upstream = {name: records[name].artifact for name in last.upstream}
    inputs = inputs_of(last, upstream, store)
    ready = prepare(inputs, config)
    test = UserItems.read(inputs[SPLIT], TEST, len(ready.users), len(ready.items))
    held_out = {SPLIT_NAMES[VALIDATION]: ready.validation, SPLIT_NAMES[TEST]: test}
    truth = pq.read_table(dump / "truth" / "interactions.parquet")
    types = {name: types_of(truth, ready, items) for name, items in held_out.items()}
    parameters = read_json(dump / "truth" / "parameters.json")
    halves = {m: torch.tensor(parameters[name]) for m, name in ((TEXT, "A"), (VISUAL, "B"))}
    return Data(ready, test, types, latent(dump / "truth" / "items.parquet", ready.items), halves)


def latent(path: Path, asins: list[str]) -> dict[str, Tensor]:
    """By column of the truth, (I, d) of the items in this order."""
    table = pq.read_table(path).to_pydict()
    place = {asin: row for row, asin in enumerate(table.pop(ASIN))}
    values = {name: torch.tensor(column) for name, column in table.items()}
    rows = torch.tensor([place.get(asin, -1) for asin in asins])
    return {name: value[rows] * (rows >= 0).unsqueeze(1) for name, value in values.items()}


def shown(data: Data, *, products: bool) -> dict[str, Tensor]:
    """The attributes that texts and pictures show, as features: no model has to read them.

    Args:
        data: the dump.
        products: whether the text also shows the products, which makes them unique to it.
    """
    truth = data.truth
    halves = {TEXT: (TEXT_UNIQUE, TEXT_SIGNS), VISUAL: (VISUAL_UNIQUE, VISUAL_SIGNS)}
    half = {m: truth[ADDITIVE] @ data.halves[m].T for m in halves}
    features = {
        m: torch.cat([half[m], truth[REDUNDANT], *(truth[name] for name in names)], dim=1)
        for m, names in halves.items()
    }
    if products:
        features[TEXT] = torch.cat([features[TEXT], truth[SYNERGY]], dim=1)
    return features


def types_of(truth: pa.Table, ready: Prepared, held_out: UserItems) -> Ints:
    """(N,) index in `TYPES` of each held-out interaction; -1 for users outside the truth."""
    columns = (truth[name].to_pylist() for name in (USER_ID, ASIN, TYPE))
    known = {(user, item): TYPES.index(of) for user, item, of in zip(*columns, strict=True)}
    pairs = zip(held_out.users.tolist(), held_out.items.tolist(), strict=True)
    return np.array([known.get((ready.users[u], ready.items[i]), -1) for u, i in pairs])


def trained(data: Data, name: str, seed: int) -> dict[str, Any]:
    """Train one variant: the best epoch, and by split which held-out items are in the first K."""
    started = time.perf_counter()
    model_name, values, instead = VARIANTS[name]
    given = data.ready.data
    if instead is not None:
        given = replace(given, features=shown(data, products=instead == PRODUCTS))
    model = build(configure(model_name, **values), given, seed)
    config = TrainConfig(seed=seed, **TRAINING)
    history = fit(model, data.ready.train, data.ready.select, config)
    with torch.no_grad():
        fused = model.branches()[FUSED]
    hits = {}
    for split, held_out in ((VALIDATION, data.ready.validation), (TEST, data.test)):
        ranked = top_k(fused, held_out.users, K, data.ready.train)[0]
        found = (ranked == held_out.items.unsqueeze(1)).any(dim=1)
        hits[SPLIT_NAMES[split]] = "".join(str(int(hit)) for hit in found.tolist())
    return {"epoch": history.best_epoch, "seconds": time.perf_counter() - started, **hits}


def todo() -> Iterator[tuple[float, int, str]]:
    """Strength, seed and variant of every run, seed by seed: an early end leaves whole tables."""
    for seed in SEEDS:
        for strength in reversed(STRENGTHS):
            for name in MAIN if strength == STRENGTHS[-1] else AT_EVERY_STRENGTH:
                yield strength, seed, name
    for seed in SEEDS:
        for name in DEVIATIONS:
            yield STRENGTHS[-1], seed, name


def train(root: Path, share: str, settings: tuple[str, ...]) -> None:
    """Train the runs of a share that are not in the file yet."""
    torch.set_num_threads(1)
    part, parts = map(int, share.split("/"))
    for number, (strength, seed, name) in enumerate(todo()):
        if number % parts != part or (strength, seed, name) in runs(root):
            continue
        found = trained(data_of(root, strength, settings), name, seed)
        line = {"strength": strength, "seed": seed, "variant": name, **found}
        with (root / RUNS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{strength:g} {name}, seed {seed}: {found['seconds']:.0f} s", flush=True)


def runs(root: Path) -> dict[tuple[float, int, str], dict[str, Any]]:
    """The finished runs by strength, seed and variant."""
    if not (root / RUNS).exists():
        return {}
    lines = map(json.loads, (root / RUNS).read_text(encoding="utf-8").splitlines())
    return {(line["strength"], line["seed"], line["variant"]): line for line in lines}


def table(root: Path, split: str, settings: tuple[str, ...]) -> None:
    """Print one table per strength: Recall@K by type, mean and standard deviation of the seeds."""
    finished = runs(root)
    for strength in STRENGTHS:
        types = data_of(root, strength, settings).types[split]
        shares = ", ".join(f"{t} {(types == n).sum()}" for n, t in enumerate(TYPES))
        print(f"\nSynergy {strength:g}; positives: {shares}\n")
        print(f"| variant | all | {' | '.join(TYPES)} | synergy, minus {REFERENCE} |")
        print("|---|" + "---|" * (len(TYPES) + 2))
        reference = hits_of(finished, strength, REFERENCE, split)
        for name in VARIANTS:
            hits = hits_of(finished, strength, name, split)
            if len(hits):
                print(f"| {name} | {' | '.join(row(hits, types, reference))} |")


def hits_of(
    finished: dict[tuple[float, int, str], dict[str, Any]], strength: float, name: str, split: str
) -> Floats:
    """(seeds, N) of 0 and 1, by the seeds that are finished."""
    keys = [(strength, seed, name) for seed in SEEDS if (strength, seed, name) in finished]
    return np.array([[float(hit) for hit in finished[key][split]] for key in keys])


def row(hits: Floats, types: Ints, reference: Floats) -> Iterator[str]:
    """The cells of one variant.

    The interval is a paired bootstrap over the synergistic positives, of the mean over the seeds.
    """
    for chosen in (types >= 0, *(types == n for n in range(len(TYPES)))):
        of_seeds = hits[:, chosen].mean(axis=1)
        deviation = of_seeds.std(ddof=1) if len(of_seeds) > 1 else 0.0
        yield f"{of_seeds.mean():.3f} ± {deviation:.3f}"
    synergistic = types == TYPES.index(SYNERGY)
    difference = (hits.mean(axis=0) - reference.mean(axis=0))[synergistic]
    low, high = interval(difference, 0.95)
    yield f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("train", "table"))
    parser.add_argument("folder", type=Path, help="of dumps, artifacts and runs")
    parser.add_argument("--share", default="0/1", help="PART/PARTS: which of the runs to train")
    parser.add_argument(
        "--split", default=SPLIT_NAMES[TEST], help="whose positives the table shows"
    )
    parser.add_argument("--set", action="append", default=[], help="a setting of the stages")
    given = parser.parse_args()
    if given.action == "train":
        train(given.folder, given.share, tuple(given.set))
    else:
        table(given.folder, given.split, tuple(given.set))


if __name__ == "__main__":
    main()
