"""The item graphs of a large data set: exact arithmetic over all pairs, the search by candidates,
faiss's exact index, and the limit of the processor, in one table.

    OMP_NUM_THREADS=2 python bench/graphs.py [--items 63001] [--dimensions 384 4096] [--clusters 0]

Random vectors by default, whose cosines lie close together: the hardest case for a search by
candidates. With `--clusters C`, vectors around C centres, like those of products. The paths that
compute all pairs are measured on `--rows` rows and multiplied; their edges are compared.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from brmrs.columns import ITEM, MODALITIES
from brmrs.graphs import nearest
from brmrs.graphs.first_pass import half_is_faster
from brmrs.graphs.similarity import Modality, Similarity
from brmrs.graphs.stage import by_modality
from brmrs.system.machine import high_water

K, BLOCK_BYTES = 10, 2**30


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=63_001)
    parser.add_argument("--users", type=int, default=192_403)
    parser.add_argument("--interactions", type=int, default=1_250_000)
    parser.add_argument("--dimensions", type=int, nargs=2, default=(384, 4096))
    parser.add_argument("--clusters", type=int, default=0)
    parser.add_argument("--rows", type=int, default=512, help="rows of the slow paths")
    arguments = parser.parse_args()
    items, widths = arguments.items, arguments.dimensions
    similarity = synthetic(arguments)
    graphs = {ITEM: similarity} | {name: by_modality(similarity, name) for name in MODALITIES}
    print(f"{items:,} items, {widths} numbers, {torch.get_num_threads()} threads, k = {K}\n")
    print("| path | seconds | of |\n|---|---|---|")
    products = 2 * items**2 * sum(widths)
    for name, rate in rates(max(widths)).items():
        print(f"| limit: {products / 1e12:.1f} TFLOP in {name} | {products / rate:.0f} | both |")
    print(
        f"| faiss IndexFlatIP, both side by side | {faiss_seconds(similarity, items):.0f} | item |"
    )
    few = np.arange(min(arguments.rows, items))
    old, seconds = timed(lambda: nearest.by_rows(similarity, K, few))
    print(f"| all pairs in float64 | {seconds * items / len(few):.0f} | item |", flush=True)
    before = time.process_time()
    found, seconds = timed(
        lambda: {
            name: nearest.nearest(each, K, BLOCK_BYTES, f"{name} graph")
            for name, each in graphs.items()
        }
    )
    used = time.process_time() - before
    print(
        f"| candidates, then float64 | {seconds:.0f} ({used:.0f} of a core) | item, text, visual |"
    )
    expected = nearest.edges([old])
    same = found[ITEM].rows < len(few)
    for one, other in zip(vars(found[ITEM]).values(), vars(expected).values(), strict=True):
        np.testing.assert_array_equal(one[same], other)
    precision = "bfloat16" if half_is_faster() else "float32"
    print(f"\nthe edges of the first {len(few)} items are equal; first pass in {precision}")
    print(f"peak {high_water() / 1e9:.1f} GB")


def synthetic(arguments: argparse.Namespace) -> Similarity:
    """The similarity of items with random vectors and interactions, popular items first."""
    rng = np.random.default_rng(0)
    items, clusters = arguments.items, arguments.clusters
    users = rng.integers(0, arguments.users, arguments.interactions)
    ends = (items * rng.random(len(users)) ** 2).astype(np.int64), users
    train = sp.csr_matrix((np.ones(len(users)), ends), shape=(items, arguments.users))
    train.data[:] = 1
    modalities = {}
    for name, width in zip(MODALITIES, arguments.dimensions, strict=True):
        vectors = rng.standard_normal((items, width), dtype=np.float32)
        if clusters:
            centres = rng.standard_normal((clusters, width), dtype=np.float32)
            vectors += 2 * centres[rng.integers(0, clusters, items)]
        modalities[name] = Modality.of(vectors, np.ones(items, dtype=bool))
    beta = dict.fromkeys(MODALITIES, 0.5)
    return Similarity(train, modalities, beta, 0.5, "cosine")


def rates(width: int) -> dict[str, float]:
    """Floating-point operations a second of a product of blocks, by precision."""
    found = {}
    for kind in (torch.float64, torch.float32, torch.bfloat16):
        a, b = (torch.ones(rows, width, dtype=kind) for rows in (1024, 8192))
        timed(partial(torch.mm, a, b.T))
        _, seconds = timed(partial(torch.mm, a, b.T))
        found[str(kind).removeprefix("torch.")] = 2 * 1024 * 8192 * width / seconds
    return found


def faiss_seconds(similarity: Similarity, items: int) -> float:
    """Seconds of an exact search by float32 inner products over the vectors side by side."""
    import faiss

    both: NDArray[np.float32] = np.concatenate(
        [m.units for m in similarity.modalities.values() if isinstance(m, Modality)], axis=1
    )
    index = faiss.IndexFlatIP(both.shape[1])
    index.add(both)
    few = both[:1024]
    _, seconds = timed(lambda: index.search(few, K + 1))
    return seconds * items / len(few)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the seconds."""
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


if __name__ == "__main__":
    main()
