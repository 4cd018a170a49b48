"""The stage `publish`: the K best items of every user as a table."""

import numpy as np
import torch

from brmrs.columns import ASIN, ITEM, RANK, RECOMMENDATIONS, SCORE, USER, USER_ID
from brmrs.evaluation.ranking import top_k
from brmrs.models import bundle
from brmrs.stages import StageContext
from brmrs.system.files import write_parquet

RECOMMENDATIONS_FILE = "recommendations.parquet"


def run(context: StageContext) -> None:
    """Recommend for every user; the user's training items are left out."""
    model = bundle.load(context.inputs["train"])
    columns = recommendations(model, context.config.publish.k)
    write_parquet(context.out / RECOMMENDATIONS_FILE, RECOMMENDATIONS, columns)


def recommendations(model: bundle.Bundle, k: int) -> dict[str, np.ndarray]:
    """The columns of `recommendations.parquet`, sorted by user and rank.

    Args:
        model: the bundle.
        k: K; a user with fewer unseen items gets fewer rows.
    """
    everyone = torch.arange(len(model.about.users))
    k = min(k, len(model.about.items))
    items, scores = top_k(model.fused, everyone, k, model.seen)
    users, places = (items >= 0).nonzero(as_tuple=True)
    chosen = items[users, places].numpy()
    return {
        USER: users.numpy(),
        USER_ID: np.array(model.about.users, dtype=object)[users.numpy()],
        RANK: places.numpy() + 1,
        ITEM: chosen,
        ASIN: np.array(model.about.items, dtype=object)[chosen],
        SCORE: scores[users, places].numpy(),
    }
