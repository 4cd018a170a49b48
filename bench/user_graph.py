"""The user graph over features, of the first pass in leading directions and in all.

    OMP_NUM_THREADS=2 python bench/user_graph.py [--users 192403] [--items 63001] [--all]

Item vectors are generated: a mean direction with 37 % of their energy, and the k-th direction with
a variance in proportion to 1 / k. The pooled EfficientNet-Lite0 vectors of 900 product photos are
like that: their mean cosine is .36, and k times the k-th variance is .12, .11, .11, .10 and .07
for k = 2, 16, 32, 64 and 256. A user's vector is the mean of the vectors of 6.5 items, popular
items first. `--all` also measures the first pass in all directions, and compares the edges.
"""

import argparse
import logging
import time
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from brmrs.columns import MODALITIES, USER
from brmrs.graphs import leading
from brmrs.graphs.nearest import nearest
from brmrs.graphs.similarity import Edges, Modality, Similarity
from brmrs.graphs.stage import user_means
from brmrs.system.machine import high_water

K, BLOCK_BYTES, MEAN = 10, 2**30, 0.37


def vectors(items: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(items, width) vectors whose directions have variances in proportion to 1 / k."""
    variances = 1 / np.arange(1, width + 1)
    variances *= (1 - MEAN) / variances.sum()
    found = rng.standard_normal((items, width), dtype=np.float32)
    found *= np.sqrt(variances).astype(np.float32)
    mean = rng.standard_normal(width).astype(np.float32)
    found += mean * np.float32(np.sqrt(MEAN) / np.linalg.norm(mean))
    return found


def similarity(arguments: argparse.Namespace) -> Similarity:
    """That of users with at least 3 items, 6.5 on average."""
    rng = np.random.default_rng(0)
    users, items = arguments.users, arguments.items
    count = int(6.5 * users)
    buyers = np.concatenate(
        [np.repeat(np.arange(users), 3), rng.integers(0, users, count - 3 * users)]
    )
    bought = (items * rng.random(count) ** 2.5).astype(np.int64)
    train = sp.csr_matrix((np.ones(count), (buyers, bought)), shape=(users, items))
    train.data[:] = 1
    modalities = {}
    for name, width in zip(MODALITIES, arguments.dimensions, strict=True):
        of_items = vectors(items, width, rng)
        modalities[name] = Modality.of(*user_means(train, of_items, np.ones(items, dtype=bool)))
    return Similarity(train, modalities, dict.fromkeys(MODALITIES, 0.5), 0.5, "cosine")


def measured(of: Similarity, name: str) -> Edges:
    """Print the times of one path."""
    wall, used = time.perf_counter(), time.process_time()
    found = nearest(of, K, BLOCK_BYTES, f"{USER} graph")
    wall, used = time.perf_counter() - wall, time.process_time() - used
    print(f"| {name} | {wall:.0f} | {used:.0f} | {high_water() / 1e9:.1f} |", flush=True)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=192_403)
    parser.add_argument("--items", type=int, default=63_001)
    parser.add_argument("--dimensions", type=int, nargs=2, default=(384, 4096))
    parser.add_argument("--all", action="store_true", help="also the pass in all directions")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)  # the number of directions
    of = similarity(arguments)
    print(f"{arguments.users:,} users, {torch.get_num_threads()} threads, k = {K}\n")
    print("| first pass | seconds | of a core | peak GB |\n|---|---|---|---|")
    leading.WORTH = 0  # few users, too
    found: dict[str, Any] = vars(measured(of, "in leading directions"))
    if arguments.all:
        leading.WORTH = float("inf")
        for one, other in zip(
            found.values(), vars(measured(of, "in all directions")).values(), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        print("\nthe edges are equal")


if __name__ == "__main__":
    main()
