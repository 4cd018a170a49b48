"""Whether features show the planted signs: `python bench/planted_probe.py FOLDER`.

For the text vectors and the picture vectors of a sample dump it prints how often a linear probe is
right about each sign: three of the text, three of the picture, and their three products (the
exclusive-or). Chance is .5. The probe is a ridge regression of the centred unit-length vectors,
fitted on every second item and tested on the others. The dump is made in FOLDER; `--set` gives
settings of its stages, such as features.visual.backbone=vgg16.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from planted_data import dump_of, of_models

from brmrs.columns import MODALITIES, SYNERGY, TEXT_SIGNS, VISUAL_SIGNS
from brmrs.graphs.unit_rows import unit_rows

STRENGTH = 1.6  # of the synergy; texts and pictures do not depend on it
RIDGE = 30.0  # of vectors with mean square 1
SIGNS = (TEXT_SIGNS, VISUAL_SIGNS, SYNERGY)
Floats = NDArray[np.float64]


def accuracy(features: Floats, signs: Floats) -> Floats:
    """(n,) share of the second half of the items whose (I, n) signs the probe finds."""
    x = features - features.mean(axis=0)
    x /= np.sqrt((x**2).mean())
    fit = np.arange(len(x)) % 2 == 0
    gram = x[fit].T @ x[fit] + RIDGE * np.eye(x.shape[1])
    found = x[~fit] @ np.linalg.solve(gram, x[fit].T @ signs[fit])
    shares: Floats = (np.sign(found) == signs[~fit]).mean(axis=0)
    return shares


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, default=900)
    parser.add_argument("--items", type=int, default=1200)
    parser.add_argument("--set", action="append", default=[], help="a setting of the stages")
    given = parser.parse_args()
    data = of_models(given.folder, STRENGTH, given.users, given.items, tuple(given.set))
    truth = pq.read_table(dump_of(given.folder, STRENGTH) / "truth" / "items.parquet")
    place = {asin: row for row, asin in enumerate(truth["asin"].to_pylist())}
    rows = np.array([place.get(asin, -1) for asin in data.asins])
    x, present = data.training.features, data.training.present
    vectors = {name: unit_rows(x[name]).double().numpy() for name in MODALITIES}
    vectors["both"] = np.hstack([vectors[name] for name in MODALITIES])
    chosen = (rows >= 0) & np.logical_and.reduce([present[name].numpy() for name in MODALITIES])
    print(f"{chosen.sum()} items\n\n| vectors | {' | '.join(SIGNS)} |\n|---|---|---|---|")
    for name, table in vectors.items():
        shares = [
            accuracy(table[chosen], np.array(truth[s].to_pylist())[rows[chosen]]) for s in SIGNS
        ]
        print(f"| {name} | {' | '.join(' '.join(f'{v:.2f}' for v in each) for each in shares)} |")


if __name__ == "__main__":
    main()
