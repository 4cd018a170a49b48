"""The weights of the residual scores, chosen by a coordinate search on the validation split."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from brmrs.evaluation.metrics import NO_OTHERS, Metric, evaluated, from_hits
from brmrs.graphs.top_k import best
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer
from brmrs.models.standardised import standardised

LOG = logging.getLogger(__name__)
USERS = 20_000  # at most so many users, evenly spaced, decide on the weights
CANDIDATES = 100  # items per user and score that the search ranks
FACTOR = 1.5  # by which a step multiplies or divides one weight
STEPS = 4  # largest number of passes over the weights
BLOCK_SCORES = 2**20  # scores of one part held at once
ROWS = 2048  # users summed at once
LEFT_OUT = -1e4  # below every standardised score


@dataclass(frozen=True)
class Candidates:
    """The items that the search ranks.

    Attributes:
        scores: (B, K, C) standardised scores of C items in K parts; C varies with the block.
        hits: (B, C) bool, whether the item is held out.
        relevant: (B,) number of held-out items of the user.
    """

    scores: Tensor
    hits: Tensor
    relevant: Tensor

    def measure(self, weights: Tensor, metric: str, others: Mapping[str, Metric]) -> float:
        """The mean over the users of a metric such as "recall@20", of the weighted sum."""
        k = int(metric.partition("@")[2])
        found = []
        for scores, hits in zip(
            *(torch.split(x, ROWS) for x in (self.scores, self.hits)), strict=True
        ):
            ranked = best(torch.einsum("bkc,k->bc", scores, weights), k)[1]
            found.append(hits.gather(1, ranked))
        hits = torch.nn.functional.pad(torch.cat(found), (0, max(0, k - found[0].shape[1])))
        return float(from_hits(hits, self.relevant, (k,), others)[metric].mean())


def choose(
    parts: Mapping[str, Scorer],
    start: Mapping[str, float],
    validation: UserItems,
    train: UserItems,
    metric: str,
    others: Mapping[str, Metric] = NO_OTHERS,
    among: Tensor | None = None,
) -> dict[str, float]:
    """The weights of all parts but the first, whose weight is 1.

    One weight after the other is multiplied and divided by `FACTOR`, and a better one is kept,
    until a pass over the weights changes none. Only the `CANDIDATES` best items of each part, and
    of their sum at the start, are ranked.

    Args:
        parts: the model, then the residual scores, by name.
        start: the weights of the residual scores at the start, above 0.
        validation: the items to find.
        train: the items to leave out.
        metric: such as "recall@20".
        others: metrics of plug-ins, by name.
        among: (I,) bool, the items that are ranked; None: all.
    """
    weights = torch.tensor([1.0, *(start[name] for name in list(parts)[1:])])
    items = candidates(parts, weights, validation, train, among)
    value = first = items.measure(weights, metric, others)
    for _ in range(STEPS):
        before = value
        for place in range(1, len(weights)):
            for factor in (FACTOR, 1 / FACTOR):
                tried = weights.clone()
                tried[place] *= factor
                if (measured := items.measure(tried, metric, others)) > value:
                    weights, value = tried, measured
        if value == before:
            break
    LOG.info("weights of the residual scores: validation %s %.4f -> %.4f", metric, first, value)
    chosen = [round(weight, 6) for weight in weights[1:].tolist()]  # without float32's rounding
    return dict(zip(list(parts)[1:], chosen, strict=True))


@torch.no_grad()
def candidates(
    parts: Mapping[str, Scorer],
    weights: Tensor,
    validation: UserItems,
    train: UserItems,
    among: Tensor | None = None,
) -> Candidates:
    """The best items of each part and of the weighted sum, with their standardised scores.

    Args:
        parts: K scorers.
        weights: (K,) of the sum.
        validation: the items to find.
        train: the items to leave out.
        among: (I,) bool, the items that are ranked; None: all.
    """
    users = evaluated(validation)
    users = users[:: -(-len(users) // USERS)]
    n_items = validation.n_items
    made = []
    for block in torch.split(users, max(1, BLOCK_SCORES // n_items)):
        scores = torch.stack([standardised(part.scores(block)) for part in parts.values()], dim=1)
        rows, seen = train.of(block)
        scores[rows, :, seen] = LEFT_OUT
        if among is not None:
            scores[:, :, ~among] = LEFT_OUT
        total = torch.einsum("bki,k->bi", scores, weights.to(scores.device))
        each = torch.cat([scores, total.unsqueeze(1)], dim=1)
        items = each.topk(min(CANDIDATES, n_items)).indices.flatten(1).sort(dim=1).values
        repeated = torch.zeros_like(items, dtype=torch.bool)
        repeated[:, 1:] = items[:, 1:] == items[:, :-1]
        taken = scores.gather(2, items.unsqueeze(1).expand(-1, len(parts), -1))
        taken.masked_fill_(repeated.unsqueeze(1), LEFT_OUT)
        held_out = validation.contain(block.unsqueeze(1), items) & ~repeated
        made.append((taken.cpu(), held_out.cpu()))
    scores, hits = (torch.cat(column) for column in zip(*made, strict=True))
    return Candidates(scores, hits, validation.counts[users].cpu())
