"""Share of the negatives of training that are held-out positives, by sampler and size of the pool.

    python bench/false_negatives.py BUNDLE SPLIT [--pools 1 2 4 16]

BUNDLE is the folder of a trained BR-MRS, SPLIT its `split/interactions.parquet`. The held-out items
are read to measure only: no training knows them.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from brmrs.columns import FUSED, MODALITIES, MODEL, TEST, VALIDATION
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer
from brmrs.models.bundle import load
from brmrs.training.sampling import Sampler, seeded

BATCH = 2048


def main() -> None:
    """Print one line for each size of the pool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--pools", type=int, nargs="+", default=[1, 2, 4, 16])
    args = parser.parse_args()
    bundle = load(args.bundle)
    shape = len(bundle.about.users), len(bundle.about.items)
    parts = [UserItems.read(args.split, part, *shape) for part in (VALIDATION, TEST)]
    users, items = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("users", "items")
    )
    held_out = UserItems.from_pairs(users, items, *shape)
    branches = {m: bundle.branches[m] for m in MODALITIES}
    branches[FUSED] = bundle.branches.get(MODEL, bundle.fused)
    for pool in args.pools:
        shares = rates(branches, bundle.seen, held_out, pool)
        print(f"pool {pool:3}", *(f"{name} {share:.3%}" for name, share in shares.items()))


@torch.no_grad()
def rates(
    branches: Mapping[str, Scorer], train: UserItems, held_out: UserItems, pool: int, seed: int = 0
) -> dict[str, float]:
    """The share of negatives that are held out, over one epoch.

    "uniform" takes the first candidate; a branch's name the candidate with its highest score. CHNS
    trains each modality against the choices of the other one, so its share is the mean of both
    modalities' shares, as is that of hard negatives without the exchange.

    Args:
        branches: score the candidates.
        train: the training items.
        held_out: the validation and the test items.
        pool: candidates per positive.
        seed: of the draws.
    """
    found = dict.fromkeys(("uniform", *branches), 0)
    sampler, count = Sampler(train, pool), 0
    for batch in sampler.epoch(BATCH, seeded(seed, 1, 0, train.items.device)):
        wrong = held_out.contain(batch.users.unsqueeze(1), batch.negatives)
        found["uniform"] += int(wrong[:, 0].sum())
        for name, branch in branches.items():
            hardest = branch.pairs(batch.users, batch.negatives).argmax(dim=1, keepdim=True)
            found[name] += int(wrong.gather(1, hardest).sum())
        count += len(batch.users)
    return {name: number / count for name, number in found.items()}


if __name__ == "__main__":
    main()
