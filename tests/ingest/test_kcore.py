from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from brmrs.ingest.kcore import k_core, largest_k

Pair = tuple[int, int]
graphs = st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=60).map(sorted)


def naive(pairs: set[Pair], k: int) -> set[Pair]:
    """Remove one user or item at a time until none has fewer than k."""
    while True:
        ends = [("user", user) for user, _ in pairs] + [("item", item) for _, item in pairs]
        poor = next((end for end in ends if ends.count(end) < k), None)
        if poor is None:
            return pairs
        pairs = {pair for pair in pairs if pair[poor[0] == "item"] != poor[1]}


def core(pairs: list[Pair], k: int) -> list[Pair]:
    user, item = columns(pairs)
    return [pairs[row] for row in k_core(user, item, k)]


def columns(pairs: list[Pair]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    array = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    return array[:, 0], array[:, 1]


@given(graphs, st.integers(0, 6))
def test_it_equals_the_naive_reference(pairs: list[Pair], k: int) -> None:
    assert core(pairs, k) == sorted(naive(set(pairs), k))


@given(graphs, st.integers(0, 6))
def test_it_is_idempotent(pairs: list[Pair], k: int) -> None:
    once = core(pairs, k)
    assert core(once, k) == once


@given(graphs, st.integers(0, 6), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(pairs: list[Pair], k: int, random: Any) -> None:
    shuffled = pairs.copy()
    random.shuffle(shuffled)
    assert sorted(core(shuffled, k)) == core(pairs, k)


def test_a_chain_unravels_to_the_fixpoint() -> None:
    # Item 3 has one user; without it user 2 has one item; without that item 2 has one user ...
    chain = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3)]
    square = [(5, 5), (5, 6), (6, 5), (6, 6)]
    assert core(chain + square, 2) == square


def test_zero_keeps_everything() -> None:
    assert core([(0, 0), (3, 7)], 0) == [(0, 0), (3, 7)]


@given(graphs.filter(bool))
def test_the_largest_k_is_the_last_with_a_core(pairs: list[Pair]) -> None:
    found = largest_k([columns(pairs)], below=20)
    assert naive(set(pairs), found)
    assert not naive(set(pairs), found + 1)
