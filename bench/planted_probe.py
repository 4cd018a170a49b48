"""Whether features show the planted attributes: `python bench/planted_probe.py FOLDER`.

FOLDER is that of bench/planted_synergy.py. For the text features and the picture features it prints
how often a linear probe is right about each sign: those that the text shows, those that the picture
shows, and their products (the exclusive-or). Chance is .5. The probe is a ridge regression of the
centred unit-length features, fitted on every second item and tested on the others.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from planted_synergy import STRENGTHS, data_of

from brmrs.columns import ASIN, MODALITIES, SYNERGY, TEXT_SIGNS, VISUAL_SIGNS
from brmrs.graphs.unit_rows import unit_rows

RIDGE = 30.0  # of features with mean square 1
Floats = NDArray[np.float64]


def accuracy(features: Floats, signs: Floats) -> Floats:
    """(n,) share of the second half of the items whose (I, n) signs the probe finds."""
    x = features - features.mean(axis=0)
    x /= np.sqrt((x**2).mean())
    fit = np.arange(len(x)) % 2 == 0
    gram = x[fit].T @ x[fit] + RIDGE * np.eye(x.shape[1])
    found = x[~fit] @ np.linalg.solve(gram, x[fit].T @ signs[fit])
    result: Floats = (np.sign(found) == signs[~fit]).mean(axis=0)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", action="append", default=[], help="a setting of the stages")
    given = parser.parse_args()
    ready = data_of(given.folder, STRENGTHS[0], tuple(given.set)).ready
    dump = given.folder / f"synergy-{STRENGTHS[0]:g}"
    truth = pq.read_table(dump / "truth" / "items.parquet").to_pydict()
    place = {asin: row for row, asin in enumerate(truth[ASIN])}
    print("| features | signs of the text | signs of the picture | their products |")
    print("|---|---|---|---|")
    tables = {}
    for name in MODALITIES:
        present = ready.data.present[name].numpy()
        tables[name] = (unit_rows(ready.data.features[name]).double().numpy(), present)
    tables["both"] = (
        np.hstack([x for x, _ in tables.values()]),
        np.logical_and.reduce([present for _, present in tables.values()]),
    )
    for name, (x, present) in tables.items():
        chosen = np.array([a in place for a in ready.items]) & present
        rows = [place[asin] for asin, keep in zip(ready.items, chosen, strict=True) if keep]
        shares = [
            accuracy(x[chosen], np.array(truth[signs])[rows])
            for signs in (TEXT_SIGNS, VISUAL_SIGNS, SYNERGY)
        ]
        print(f"| {name} | {' | '.join(' '.join(f'{v:.2f}' for v in each) for each in shares)} |")


if __name__ == "__main__":
    main()
