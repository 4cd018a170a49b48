"""Training losses: pure functions on scores and representations, each a mean over the batch.

Notation of method/000: B batch, n candidates, s scores, Delta preference margins, f fused,
t text, v visual. The document sums over the observed pairs; a mean over a uniform batch is that
sum up to a constant, and keeps the weights independent of the batch size.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle 2009): mean of -log sigma(s(u,i+) - s(u,i-)).

    Args:
        positive: (B,) scores of the positives.
        negative: (B,) or (B, n) scores of the negatives.
    """
    if negative.dim() > positive.dim():
        positive = positive.unsqueeze(-1)
    return -logsigmoid(positive - negative).mean()


def l2(*rows: Tensor) -> Tensor:
    """Half the squared norm of the given rows per batch element: sum |x|^2 / (2 B).

    The field's regulariser (LightGCN): the embeddings that the batch looked up, not the tables.

    Args:
        rows: tensors of B rows each, (B, ...).
    """
    total = sum((row.square().sum() for row in rows), start=rows[0].new_zeros(()))
    return total / (2 * rows[0].shape[0])
